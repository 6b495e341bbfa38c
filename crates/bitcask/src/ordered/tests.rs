use std::collections::BTreeSet;

use super::*;

/// The seeds to try, or the one in the environment.
fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (0..count).collect(),
    }
}

/// A cheap permutation, so that tests need no random source.
fn scramble(n: u64) -> u64 {
    let n = (n ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 29)
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 += 1;
        scramble(scramble(self.0)) % limit
    }

    fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap()
    }

    fn byte(&mut self, limit: u64) -> u8 {
        u8::try_from(self.below(limit)).unwrap()
    }

    fn bytes(&mut self, len: usize, alphabet: u64) -> Vec<u8> {
        (0..len).map(|_| self.byte(alphabet)).collect()
    }
}

const KINDS: u64 = 6;

fn random_key(kind: u64, random: &mut Random) -> Vec<u8> {
    match kind {
        // Few letters, zero among them, and the empty key: keys that are the beginning of others.
        0 => {
            let len = random.index(9);
            random.bytes(len, 2)
        }
        1 => random.bytes(16, 256),
        2 => format!("user:{:04}:{}", random.below(3000), ["age", "name"][random.index(2)]).into(),
        // Around the lengths where something changes: the head, lengths of one byte.
        3 => {
            let mut key = vec![7; [0, 3, 4, 250, 254, 255, 256, 260][random.index(8)]];
            let len = random.index(4);
            key.extend(random.bytes(len, 5));
            key
        }
        // Long ones, some with much in common, and short ones between.
        4 => {
            let mut key = vec![random.byte(3); [0, 10, 3000, 20_000, 65_533][random.index(5)]];
            key.extend(random.bytes(2, 12));
            key
        }
        _ => {
            let kind = random.below(4);
            random_key(kind, random)
        }
    }
}

fn random_bound(key: &[u8], random: &mut Random) -> Bound<Vec<u8>> {
    match random.below(3) {
        0 => Bound::Unbounded,
        1 => Bound::Included(key.to_vec()),
        _ => Bound::Excluded(key.to_vec()),
    }
}

fn collected(
    index: &KeyIndex,
    bounds: (Bound<&[u8]>, Bound<&[u8]>),
    order: Order,
    limit: usize,
) -> Vec<Vec<u8>> {
    let mut keys = KeyList::new();
    keys.push(b"there before");
    index.collect(bounds, order, limit, &mut keys);
    keys.iter().skip(1).map(<[u8]>::to_vec).collect()
}

fn all(index: &KeyIndex) -> Vec<Vec<u8>> {
    collected(index, (Bound::Unbounded, Bound::Unbounded), Order::Ascending, usize::MAX)
}

/// What a search through all keys would give.
fn expected(
    model: &BTreeSet<Vec<u8>>,
    (low, high): (Bound<&[u8]>, Bound<&[u8]>),
    order: Order,
    limit: usize,
) -> Vec<Vec<u8>> {
    let above = |key: &[u8]| match low {
        Bound::Included(low) => key >= low,
        Bound::Excluded(low) => key > low,
        Bound::Unbounded => true,
    };
    let below = |key: &[u8]| match high {
        Bound::Included(high) => key <= high,
        Bound::Excluded(high) => key < high,
        Bound::Unbounded => true,
    };
    let within = model.iter().filter(|key| above(key) && below(key)).cloned();
    match order {
        Order::Ascending => within.take(limit).collect(),
        Order::Descending => within.rev().take(limit).collect(),
    }
}

/// Checks what must be true of every tree, and gives the number of its levels.
fn check(index: &KeyIndex) -> usize {
    let (mut memory, mut levels) = (0, BTreeSet::new());
    let bounds = (Bound::Unbounded, Bound::Unbounded);
    let keys = check_node(&index.root, bounds, 1, &mut memory, &mut levels);
    assert_eq!(keys as u64, index.len());
    assert_eq!((size_of::<KeyIndex>() + memory) as u64, index.memory());
    assert_eq!(levels.len(), 1, "all leaves are on one level");
    levels.pop_first().unwrap()
}

fn check_node(
    node: &Node,
    bounds: (Bound<&[u8]>, Bound<&[u8]>),
    level: usize,
    memory: &mut usize,
    levels: &mut BTreeSet<usize>,
) -> usize {
    use std::ops::RangeBounds;
    *memory += node.own_memory();
    let mut listed = KeyList::new();
    match node {
        Node::Leaf(run) => {
            levels.insert(level);
            assert!(run.len() > 0 || level == 1, "only an empty set has an empty leaf");
            assert!(run.len() <= LEAF_KEYS_MAX);
            run.list(0..run.len(), &mut listed);
            assert!(listed.iter().all(|key| bounds.contains(key)));
            assert!(listed.iter().is_sorted_by(|a, b| a < b));
            listed.len()
        }
        Node::Inner(inner) => {
            assert!(inner.children.len() > usize::from(level == 1));
            assert!(inner.children.len() <= CHILDREN_MAX);
            assert_eq!(inner.separators.len() + 1, inner.children.len());
            inner.separators.list(0..inner.separators.len(), &mut listed);
            let mut keys = 0;
            for (at, child) in inner.children.iter().enumerate() {
                let low = at.checked_sub(1).map_or(bounds.0, |below| {
                    Bound::Included(listed.get(below).expect("it is between two"))
                });
                let high = listed.get(at).map_or(bounds.1, Bound::Excluded);
                keys += check_node(child, (low, high), level + 1, memory, levels);
            }
            keys
        }
    }
}

fn compare_walks(index: &KeyIndex, model: &BTreeSet<Vec<u8>>, kind: u64, random: &mut Random) {
    for _ in 0..12 {
        let [low, high] = [0, 1].map(|_| {
            let key = random_key(kind, random);
            random_bound(&key, random)
        });
        let bounds = (low.as_ref().map(Vec::as_slice), high.as_ref().map(Vec::as_slice));
        let limit = [0, 1, 7, 200, usize::MAX][random.index(5)];
        for order in [Order::Ascending, Order::Descending] {
            let (got, wanted) =
                (collected(index, bounds, order, limit), expected(model, bounds, order, limit));
            assert!(got == wanted, "{order:?}, {limit}: {} and {}", got.len(), wanted.len());
        }
    }
}

#[test]
fn behaves_as_a_set_through_growth_and_removal() {
    for seed in seeds(2 * KINDS) {
        println!("SEED={seed}");
        let (kind, mut random) = (seed % KINDS, Random(scramble(seed)));
        let (mut index, mut model) = (KeyIndex::new(), BTreeSet::<Vec<u8>>::new());
        let steps = if kind == 4 { 600 } else { 6_000 };
        for phase in 0..6 {
            // Grow twice, shrink, grow, shrink to next to nothing.
            let removals = [1, 3, 8, 2, 9, 9][phase];
            for _ in 0..steps {
                let key = random_key(kind, &mut random);
                let near = model.range(key.clone()..).next().cloned();
                match (random.below(10) < removals, near) {
                    (true, Some(near)) => {
                        assert!(index.remove(&near) && model.remove(&near));
                        assert!(!index.remove(&near) && !index.contains(&near));
                    }
                    (true, None) => assert_eq!(index.remove(&key), model.remove(&key)),
                    (false, _) => {
                        assert_eq!(index.contains(&key), model.contains(&key));
                        assert_eq!(index.insert(&key), model.insert(key.clone()));
                        assert!(index.contains(&key) && !index.insert(&key));
                    }
                }
            }
            check(&index);
            assert!(all(&index).iter().eq(model.iter()));
            compare_walks(&index, &model, kind, &mut random);
        }
    }
}

#[test]
fn three_levels_grow_and_go() {
    let mut index = KeyIndex::new();
    let key = |n: u64| scramble(n).to_be_bytes();
    for n in 0..60_000 {
        assert!(index.insert(&key(n)));
    }
    assert_eq!(check(&index), 3);
    for n in 0..59_990 {
        assert!(index.remove(&key(n)));
        if n % 10_000 == 0 {
            check(&index);
        }
    }
    check(&index);
    let mut rest: Vec<_> = (59_990..60_000).map(|n| key(n).to_vec()).collect();
    rest.sort();
    assert_eq!(all(&index), rest);
}

#[test]
fn what_is_built_at_once_is_what_is_built_one_by_one() {
    for count in [0, 1, 2, 96, 97, 1_000, 40_000] {
        let model: BTreeSet<_> = (0..count)
            .map(|n| format!("{}:{n}", scramble(n) % 1_000).into_bytes())
            .chain((count > 0).then(Vec::new))
            .collect();
        let mut index = KeyIndex::from_sorted(model.iter().map(Vec::as_slice));
        check(&index);
        assert!(all(&index).iter().eq(model.iter()));
        assert!(model.iter().all(|key| index.contains(key) && !index.insert(key)));
        for n in 0..1_000 {
            assert!(index.insert(format!("{}!{n}", scramble(n) % 1_000).as_bytes()));
        }
        assert!(model.iter().all(|key| index.remove(key)));
        check(&index);
        assert_eq!(index.len(), 1_000);
    }
}

#[test]
fn bounds_that_contain_nothing_give_nothing() {
    let keys: Vec<_> = (0..10_000).map(|n| format!("{n:05}").into_bytes()).collect();
    let index = KeyIndex::from_sorted(keys.iter().map(Vec::as_slice));
    let empty = KeyIndex::new();
    for (low, high) in [("09000", "01000"), ("05000", "05000"), ("9", "0"), ("0500", "05000")] {
        let bounds = (Bound::Excluded(low.as_bytes()), Bound::Excluded(high.as_bytes()));
        for order in [Order::Ascending, Order::Descending] {
            assert_eq!(collected(&index, bounds, order, 10), [[0_u8; 0]; 0], "{low} {high}");
            assert_eq!(collected(&empty, bounds, order, 10), [[0_u8; 0]; 0]);
        }
    }
}

#[test]
fn a_walk_goes_on_where_the_last_one_ended() {
    let keys: BTreeSet<_> = (0..5_000).map(|n| scramble(n).to_string().into_bytes()).collect();
    let index = KeyIndex::from_sorted(keys.iter().map(Vec::as_slice));
    let (mut walked, mut list) = (Vec::new(), KeyList::new());
    loop {
        list.clear();
        let from = walked.last().map_or(Bound::Unbounded, |key: &Vec<u8>| Bound::Excluded(&**key));
        index.collect((from, Bound::Unbounded), Order::Ascending, 97, &mut list);
        if list.is_empty() {
            break;
        }
        walked.extend(list.iter().map(<[u8]>::to_vec));
    }
    assert!(walked.iter().eq(keys.iter()));
}

#[test]
fn removing_shrinks_it() {
    let (mut index, key) = (KeyIndex::new(), |n: u64| scramble(n).to_be_bytes());
    for n in 0..100_000 {
        index.insert(&key(n));
    }
    let full = index.memory();
    for n in 0..99_000 {
        assert!(index.remove(&key(n)));
    }
    check(&index);
    assert!(index.memory() * 50 < full, "{} of {full}", index.memory());
    for n in 99_000..100_000 {
        assert!(index.remove(&key(n)));
    }
    assert_eq!(index.memory(), KeyIndex::new().memory());
}

/// The most bytes a key took, beyond its own, while these were added one by one, and then while most were removed.
fn overhead(count: u64, key: impl Fn(u64) -> Vec<u8>) -> [f64; 2] {
    let (mut index, mut bytes, mut worst) = (KeyIndex::new(), 0, [f64::MIN; 2]);
    let each =
        |index: &KeyIndex, bytes: u64| (index.memory() as f64 - bytes as f64) / index.len() as f64;
    for n in 0..count {
        let key = key(n);
        assert!(index.insert(&key));
        bytes += key.len() as u64;
        if n >= count / 2 && n % (count / 32) == 0 {
            worst[0] = worst[0].max(each(&index, bytes));
        }
    }
    for n in 0..count / 10 * 9 {
        let key = key(n);
        assert!(index.remove(&key));
        bytes -= key.len() as u64;
        if n % (count / 32) == 0 {
            worst[1] = worst[1].max(each(&index, bytes));
        }
    }
    worst
}

#[test]
fn memory_of_two_million_random_keys_stays_within_its_promise() {
    let key = |n| [scramble(n).to_be_bytes(), scramble(!n).to_be_bytes()].concat();
    let [adding, removing] = overhead(2_000_000, key);
    assert!(adding <= 3.0, "{adding} bytes a key");
    assert!(removing <= 6.0, "{removing} bytes a key while removing");
}

#[test]
fn memory_of_keys_that_begin_alike_is_less_than_their_length() {
    let digits = overhead(200_000, |n| format!("{n:016}").into());
    assert!(digits[0] <= -9.0, "{digits:?} bytes a key");
    let backwards = overhead(200_000, |n| format!("{:016}", 200_000 - n).into());
    assert!(backwards[0] <= -9.0, "{backwards:?} bytes a key");
    let fields = overhead(200_000, |n| format!("user:{:016x}:name", scramble(n)).into());
    assert!(fields[0] <= -1.0, "{fields:?} bytes a key");
    let long = overhead(600, |n| [&[b'a'; 50_000][..], &scramble(n).to_be_bytes()].concat());
    assert!(long[0] <= -25_000.0, "{long:?} bytes a key");
}

#[test]
fn memory_of_long_keys_stays_within_the_same_promise() {
    for len in [40_u64, 104, 1_000, 20_000] {
        let key = |n| (0..len / 8).flat_map(move |i| scramble(n << 20 | i).to_be_bytes());
        let [adding, removing] = overhead((4_000_000 / len).max(1_000), |n| key(n).collect());
        assert!(adding <= 26.0, "{adding} bytes a key of {len}");
        assert!(removing <= 26.0, "{removing} bytes a key of {len} while removing");
    }
}
