//! The checker, checked: histories whose verdict is known.

use super::checker::check;
use super::log::Commit;
use super::operation::{Operation, Seen};

const X0: (char, Seen) = ('x', Some(1));
const Y0: (char, Seen) = ('y', Some(2));

/// A name, when it began and was done, what it read and wrote.
type Row<'a> = (&'a str, (u64, u64), &'a [(char, Seen)], &'a [(char, Seen)]);

/// What was written first, and then `operations`.
fn history(operations: &[Row<'_>]) -> Vec<Operation> {
    let first: Row<'_> = ("first", (0, 1), &[], &[X0, Y0]);
    let all = [first].into_iter().chain(operations.iter().copied());
    let operation = |(name, (begun, done), reads, writes): Row<'_>| Operation {
        name: name.to_owned(),
        begun,
        done,
        reads: reads.to_vec(),
        writes: writes.to_vec(),
    };
    all.map(operation).collect()
}

/// The log, if the named operations made their changes in this order.
fn log(history: &[Operation], order: &[&str]) -> Vec<Commit> {
    let named = |name: &&str| history.iter().find(|operation| operation.name == *name).unwrap();
    ["first"].iter().chain(order).map(|name| named(name).writes.clone()).collect()
}

#[track_caller]
fn accepted(history: &[Operation], order: &[&str]) {
    if let Err(told) = check(history, &log(history, order)) {
        panic!("{told}");
    }
}

#[track_caller]
fn rejected(history: &[Operation], order: &[&str], needles: &[&str]) {
    let told = check(history, &log(history, order)).expect_err("it is a bad history");
    for needle in needles {
        assert!(told.contains(needle), "`{needle}` is not in: {told}");
    }
}

fn put(key: char, value: u64) -> (char, Seen) {
    (key, Some(value))
}

#[test]
fn what_ran_one_after_another_is_accepted() {
    accepted(&history(&[]), &[]);
    let history = history(&[
        ("A", (2, 3), &[X0, Y0], &[put('x', 11)]),
        ("B", (4, 5), &[put('x', 11), ('z', None)], &[put('z', 12), ('x', None)]),
        ("C", (6, 7), &[put('z', 12), ('x', None), Y0], &[]),
        ("D", (8, 9), &[('x', None)], &[put('x', 13)]),
    ]);
    accepted(&history, &["A", "B", "D"]);
}

#[test]
fn what_ran_at_the_same_time_and_could_have_run_one_after_another_is_accepted() {
    let history = history(&[
        ("A", (2, 20), &[X0], &[put('x', 11)]),
        ("B", (3, 19), &[put('x', 11)], &[put('y', 12)]),
        // Before both, between them, and after them.
        ("C", (4, 18), &[X0, Y0], &[]),
        ("D", (5, 17), &[put('x', 11), Y0], &[]),
        ("E", (6, 16), &[put('x', 11), put('y', 12)], &[]),
    ]);
    accepted(&history, &["A", "B"]);
}

#[test]
fn a_lost_update_is_rejected() {
    let history =
        history(&[("A", (2, 9), &[X0], &[put('x', 11)]), ("B", (3, 8), &[X0], &[put('x', 12)])]);
    let needles = ["2 of them", "read x = 1 before 11 was written by A", "B (from 3 to 8)"];
    rejected(&history, &["A", "B"], &needles);
}

#[test]
fn write_skew_is_rejected() {
    let history = history(&[
        ("A", (2, 9), &[X0, Y0], &[put('x', 11)]),
        ("B", (3, 8), &[X0, Y0], &[put('y', 12)]),
    ]);
    let needles =
        ["read y = 2 before 12 was written by B", "read x = 1 before 11 was written by A"];
    rejected(&history, &["A", "B"], &needles);
    rejected(&history, &["B", "A"], &needles);
}

#[test]
fn write_skew_over_absent_keys_is_rejected() {
    let history = history(&[
        ("A", (2, 9), &[('p', None), ('q', None)], &[put('p', 11)]),
        ("B", (3, 8), &[('p', None), ('q', None)], &[put('q', 12)]),
    ]);
    rejected(&history, &["A", "B"], &["read q = nothing before 12", "read p = nothing before 11"]);
}

#[test]
fn a_fractured_read_is_rejected() {
    let history = history(&[
        ("A", (2, 9), &[], &[put('x', 11), put('y', 12)]),
        ("R", (3, 8), &[put('x', 11), Y0], &[]),
    ]);
    let needles = ["wrote x = 11, which was read by R", "read y = 2 before 12 was written by A"];
    rejected(&history, &["A"], &needles);
}

#[test]
fn a_read_that_is_not_repeatable_is_rejected() {
    let history =
        history(&[("A", (2, 9), &[], &[put('x', 11)]), ("R", (3, 8), &[X0, put('x', 11)], &[])]);
    rejected(&history, &["A"], &["read by R", "read x = 1 before 11"]);
}

#[test]
fn a_fractured_read_of_nothing_is_rejected_whichever_nothing_it_was() {
    // x and y are never absent together.
    let writes = |moving: bool| {
        history(&[
            ("A", (2, 3), &[], &[('x', None)]),
            ("B", (4, 5), &[], &[put('x', 11), ('y', None)]),
            ("C", (6, 7), &[], &[put('y', 12)]),
            ("D", (8, 9), &[], &[('x', None), put('z', 13)]),
            ("R", (2, 10), &[('x', None), (if moving { 'y' } else { 'z' }, None)], &[]),
        ])
    };
    // Deletions alone do not tell who made them.
    let with_receipts = |mut history: Vec<Operation>| {
        history[1].writes.push(put('r', 14));
        history
    };
    let order = ["A", "B", "C", "D"];
    rejected(&with_receipts(writes(true)), &order, &["R (from 2 to 10)", "nothing"]);
    accepted(&with_receipts(writes(false)), &order);
}

#[test]
fn which_nothing_was_read_follows_from_what_others_were_done_with() {
    let mut history = history(&[
        // It takes long to tell that it is done.
        ("A", (2, 20), &[], &[put('z', 11)]),
        ("R", (3, 4), &[put('z', 11)], &[]),
        ("B", (5, 19), &[], &[('z', None), put('y', 12)]),
        ("S", (6, 7), &[('z', None)], &[]),
    ]);
    accepted(&history, &["A", "B"]);
    history.remove(3);
    rejected(&history, &["A"], &["R (from 3 to 4)", "before S began"]);
}

#[test]
fn a_stale_snapshot_is_rejected() {
    let history = history(&[
        ("A", (2, 3), &[], &[put('x', 11)]),
        ("snapshot", (4, 5), &[X0, Y0], &[]),
        ("B", (6, 7), &[], &[put('y', 12)]),
    ]);
    let needles = ["A (from 2 to 3)", "before snapshot began", "read x = 1 before 11"];
    rejected(&history, &["A", "B"], &needles);
}

#[test]
fn a_snapshot_of_the_future_is_rejected() {
    let history = history(&[
        ("snapshot", (2, 3), &[put('x', 11), Y0], &[]),
        ("A", (4, 5), &[], &[put('x', 11)]),
    ]);
    rejected(&history, &["A"], &["wrote x = 11, which was read by snapshot", "before A began"]);
}

#[test]
fn snapshots_that_disagree_about_the_order_are_rejected() {
    let history = history(&[
        ("A", (2, 20), &[], &[put('x', 11)]),
        ("B", (3, 19), &[], &[put('y', 12)]),
        ("one", (4, 18), &[put('x', 11), Y0], &[]),
        ("other", (5, 17), &[X0, put('y', 12)], &[]),
    ]);
    rejected(&history, &["A", "B"], &["other"]);
    rejected(&history, &["B", "A"], &["one"]);
}

#[test]
fn an_order_against_real_time_is_rejected() {
    let history = history(&[
        ("A", (2, 3), &[], &[put('x', 11)]),
        ("B", (4, 5), &[], &[put('x', 12)]),
        ("C", (6, 7), &[put('x', 11)], &[]),
    ]);
    rejected(&history, &["A", "B"], &["read x = 11 before 12 was written by B", "before C began"]);
    rejected(&history, &["B", "A"], &["before B began"]);
}

#[test]
fn what_was_not_committed_must_not_be_read() {
    let aborted = history(&[("R", (2, 3), &[put('x', 99)], &[])]);
    rejected(&aborted, &[], &["x = 99 was never committed"]);
    let swapped = history(&[("R", (2, 3), &[('x', Some(2))], &[])]);
    rejected(&swapped, &[], &["2 is of y"]);
}

#[test]
fn the_log_has_what_was_done_once_and_whole() {
    let history = history(&[("A", (2, 3), &[], &[put('x', 11), put('y', 12), ('z', None)])]);
    accepted(&history, &["A"]);
    rejected(&history, &[], &["the log has nothing of A"]);
    rejected(&history, &["A", "A"], &["the log has"]);
    let of = |commits: &[Commit]| check(&history, &[&[vec![X0, Y0]], commits].concat());
    assert!(of(&[vec![put('x', 11), put('y', 12)]]).is_ok(), "there was no z to delete");
    let torn = of(&[vec![put('x', 11)]]).unwrap_err();
    assert!(torn.contains("the log has [('x', Some(11))] of A"), "{torn}");
    let foreign = of(&[vec![put('x', 98)]]).unwrap_err();
    assert!(foreign.contains("which nobody did"), "{foreign}");
    let undone = of(&[vec![put('z', 97), put('x', 11)]]).unwrap_err();
    assert!(undone.contains("of A"), "{undone}");
}

#[test]
fn a_deletion_that_the_log_does_not_have_must_have_found_nothing() {
    let history = history(&[
        ("A", (2, 3), &[], &[put('z', 11)]),
        ("B", (4, 5), &[], &[put('x', 12), ('z', None)]),
    ]);
    let log = [vec![X0, Y0], vec![put('z', 11)], vec![put('x', 12)]];
    let told = check(&history, &log).unwrap_err();
    assert!(told.contains("A (from 2 to 3)"), "{told}");
}
