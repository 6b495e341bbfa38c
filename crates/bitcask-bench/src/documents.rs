//! Values that are compressed: bytes on the disk, puts and gets of JSON documents, beside the same store without.

use bitcask::{Bitcask, Compression, Options};
use bitcask_random::{Random, splitmix64};

use crate::Result;
use crate::bench::Bench;
use crate::keys::{chosen, key};
use crate::report::{Figure, Report};
use crate::statistics::{Pair, index, interleave, seconds_each};

/// Bytes of a document.
const DOCUMENT_LEN: usize = 200;
/// Documents that a dictionary is made from.
const SAMPLES: u64 = 20_000;
const FIRST_NAMES: [&str; 8] = ["Ann", "Bob", "Clara", "Dmitri", "Eve", "Farid", "Gesine", "Hiro"];
const CITIES: [&str; 6] = ["Lisbon", "Oslo", "Nairobi", "Quito", "Hanoi", "Wellington"];
const INTERESTS: [&str; 8] =
    ["music", "chess", "sailing", "gardening", "history", "cycling", "cooking", "painting"];

/// How documents are stored.
struct Choice {
    name: &'static str,
    compression: Compression,
    has_dictionary: bool,
}

const CHOICES: [Choice; 4] = [
    Choice { name: "lz4", compression: Compression::Lz4, has_dictionary: false },
    Choice { name: "zstd 1", compression: Compression::Zstd { level: 1 }, has_dictionary: false },
    Choice { name: "zstd 3", compression: Compression::Zstd { level: 3 }, has_dictionary: false },
    Choice { name: "zstd 3, trained", compression: Compression::zstd(), has_dictionary: true },
];

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    // An eighth: compression takes several times as long as a put.
    let documents: Vec<_> = (0..(bench.keys / 8).max(1)).map(document).collect();
    let asked = chosen(documents.len() as u64, documents.len() as u64, 1);
    for Choice { name, compression, has_dictionary } in &CHOICES {
        let run = |how, trained| store(bench, how, trained, &documents, &asked);
        let rounds = interleave(
            bench.rounds,
            || run(*compression, *has_dictionary),
            || run(Compression::None, false),
        )?;
        let note = "a JSON document with its record; bare: not compressed";
        let bytes = Figure::cost(format!("{name}: stored"), "B/doc", &Pair::nth(&rounds, (0, 0)));
        report.add(bytes.note(format!("{DOCUMENT_LEN} bytes, {note}")))?;
        let put = Figure::rate(format!("{name}: put"), &Pair::nth(&rounds, (1, 1)));
        report.add(put.note("bare: not compressed"))?;
        let get = Figure::rate(format!("{name}: get, random"), &Pair::nth(&rounds, (2, 2)));
        report.add(get.note("bare: not compressed"))?;
    }
    Ok(())
}

/// Bytes a document, seconds a put, seconds a get.
fn store(
    bench: &Bench,
    compression: Compression,
    has_dictionary: bool,
    documents: &[String],
    asked: &[u64],
) -> Result<[f64; 3]> {
    let dir = bench.fresh()?;
    let db = Options::new().compression(compression).open(dir.path())?;
    // The same for all, so that all begin with the same store.
    put_documents(&db, (0..SAMPLES).map(|n| (u64::MAX - n, document(u64::MAX - n))))?;
    if has_dictionary {
        db.train_dictionary()?;
    }
    let count = documents.len() as u64;
    let bytes_before = db.stats()?.bytes();
    let put = seconds_each(count, || put_documents(&db, (0..).zip(documents)))?;
    db.sync()?;
    let bytes = (db.stats()?.bytes() - bytes_before) as f64 / count as f64;
    let get = seconds_each(count, || {
        for &n in asked {
            let value = db.get(&key(n))?.ok_or("a document is missing")?;
            if value.len() != documents[index(n)].len() {
                return Err("a document has another length".into());
            }
        }
        Ok(())
    })?;
    db.close()?;
    Ok([bytes, put, get])
}

fn put_documents(
    db: &Bitcask,
    documents: impl Iterator<Item = (u64, impl AsRef<str>)>,
) -> Result<()> {
    for (n, document) in documents {
        db.put(&key(n), document.as_ref().as_bytes())?;
    }
    Ok(())
}

/// What a service keeps of a user: names and places from a few, numbers and an identifier that are its own.
fn document(n: u64) -> String {
    let mut random = Random::new(n);
    let mut of = |names: &[&'static str]| names[index(random.below(names.len() as u64))];
    let (name, city) = (of(&FIRST_NAMES), of(&CITIES));
    let (age, visits) = (18 + random.below(60), random.below(10_000));
    let (month, day) = (1 + random.below(12), 1 + random.below(28));
    let token = splitmix64(n) >> 32;
    let mut document = format!(
        r#"{{"id":{},"name":"{name}","email":"{}{}@example.com","age":{age},"city":"{city}","active":{},"visits":{visits},"created":"2026-{month:02}-{day:02}T00:00:00Z","token":"{token:08x}""#,
        n % 100_000_000,
        name.to_lowercase(),
        n % 1000,
        visits % 3 > 0,
    );
    // To the same length: what they are interested in.
    document.push_str(r#","interests":""#);
    while document.len() + 2 < DOCUMENT_LEN {
        let interest = INTERESTS[index(random.below(INTERESTS.len() as u64))];
        document.extend(interest.chars().chain([' ']).take(DOCUMENT_LEN - 2 - document.len()));
    }
    document.push_str("\"}");
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_one_length_and_differ() {
        let mut documents: Vec<_> = (0..1000).map(document).collect();
        assert!(documents.iter().all(|document| document.len() == DOCUMENT_LEN));
        documents.sort_unstable();
        documents.dedup();
        assert_eq!(documents.len(), 1000);
    }

    #[test]
    fn a_document_is_json() {
        for n in 0..100 {
            let text = document(n);
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        }
    }
}
