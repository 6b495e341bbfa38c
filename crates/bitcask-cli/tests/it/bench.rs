//! Benchmarks: that they add up and leave nothing behind. How fast anything was is not for tests.

use std::fs;

use serde_json::Value;

use crate::{Scene, names, run};

fn number(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or_else(|| panic!("{name}: {of}"))
}

/// Operations of a kind, after a look at whether their figures fit each other.
fn count(times: &Value) -> u64 {
    let sizes = ["p50_ns", "p95_ns", "p99_ns", "p999_ns", "max_ns"].map(|name| number(times, name));
    assert!(sizes.is_sorted(), "{times}");
    let bars = times["histogram"].as_array().unwrap();
    let sum: u64 = bars.iter().map(|bar| number(bar, "count")).sum();
    let count = number(times, "count");
    assert_eq!(sum, count, "{times}");
    assert_eq!(count == 0, sizes[4] == 0, "{times}");
    let below = bars.last().map_or(1, |bar| number(bar, "below_ns"));
    assert!(sizes[4] < below, "{times}");
    count
}

#[test]
fn a_benchmark_adds_up_and_removes_its_store() {
    let scene = Scene::new("bench");
    fs::create_dir(scene.path("here")).unwrap();
    let line = "bench --quiet --json --workload a,b,c,d,e,f --keys 1K --value-size 64 --threads 2 \
                --time 200ms --durability os --dir here";
    let said: Value = serde_json::from_str(&scene.ok(line)).unwrap();
    assert_eq!((number(&said, "keys"), number(&said["load"], "keys")), (1000, 1000));
    assert_eq!(said["interrupted"], false);
    let workloads = said["workloads"].as_array().unwrap();
    let ran: Vec<_> = workloads.iter().map(|w| w["workload"].as_str().unwrap()).collect();
    assert_eq!(ran, ["a", "b", "c", "d", "e", "f"]);
    let mut keys = 1000;
    for workload in workloads {
        let (reads, writes) = (count(&workload["reads"]), count(&workload["writes"]));
        assert_eq!(reads + writes, number(workload, "operations"), "{workload}");
        assert!(reads > 0 && workload["operations_per_second"].as_f64().unwrap() > 0.0);
        match workload["workload"].as_str().unwrap() {
            "c" => assert_eq!(writes, 0),
            // Inserts, each of them a key more.
            "d" | "e" => keys += writes,
            _ => assert_eq!(number(workload, "absent"), 0, "{workload}"),
        }
        assert_eq!(number(workload, "keys"), keys, "{workload}");
    }
    assert!(names(&scene.path("here")).is_empty());
}

#[test]
fn people_see_a_table_and_bars() {
    let scene = Scene::new("bench-text");
    let said = scene.ok("bench --quiet --workload f --keys 10 --time 100ms --dir .");
    for part in ["loaded 10 keys in ", "\nWORKLOAD  OPERATIONS ", "\nf   ", " writes ", " |#"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.is_ascii() && said.lines().all(|line| line.len() <= 100), "{said}");
    assert!(names(&scene.path(".")).is_empty());
}

#[test]
fn options_without_sense_are_refused() {
    let scene = Scene::new("bench-options");
    for options in [
        "--keys 0",
        "--keys many",
        "--keys 2G",
        "--workload g",
        "--workload a,,b",
        "--threads 0",
        "--threads 5K",
        "--value-size 1G",
        "--time soon",
        "--durability sometimes",
    ] {
        let ran = scene.run(&format!("bench {options}"));
        assert_eq!((ran.code, ran.stdout.len()), (Some(2), 0), "{options}: {ran:?}");
        assert!(
            ran.stderr.starts_with("error: ") && ran.stderr.contains(" value "),
            "{options}: {ran:?}"
        );
    }
    let ran = scene.run("bench --dir nowhere");
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert!(ran.stderr.starts_with("error: cannot use directory: nowhere\n"), "{ran:?}");
}

#[test]
fn a_store_of_the_user_is_left_alone() {
    let scene = Scene::new("bench-store");
    scene.ok("--db d set k v");
    let before = names(&scene.path("d"));
    for line in ["--db d bench --dir d", "bench --dir d"] {
        let ran = scene.run(line);
        assert_eq!(ran.code, Some(2), "{line}: {ran:?}");
        assert!(ran.stderr.starts_with("error: a store is there, "), "{line}: {ran:?}");
    }
    scene.ok("--db d bench --quiet --workload c --keys 1 --time 10ms --dir .");
    assert_eq!(names(&scene.path("d")), before);
    assert_eq!(names(&scene.path(".")), ["d"]);
    assert_eq!(scene.ok("--db d scan"), "k\tv\n");
}

#[test]
fn interrupted_it_says_what_there_is_and_removes_its_store() {
    let scene = Scene::new("bench-interrupted");
    let args = "bench --quiet --json --workload a,c --keys 100 --time 1h --dir .";
    let child = scene.command(args.split(' ')).spawn().unwrap();
    // Once there is a store, somebody listens to signals.
    let begun = || names(&scene.path(".")).iter().any(|name| !names(&scene.path(name)).is_empty());
    while !begun() {
        std::thread::yield_now();
    }
    let id = child.id().to_string();
    assert!(run(std::process::Command::new("kill").args(["-INT", &id])).code == Some(0));
    let ran = crate::Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(ran.stderr.starts_with("error: interrupted: "), "{ran:?}");
    let said: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(said["interrupted"], true);
    assert!(said["workloads"].as_array().unwrap().len() <= 1, "{said}");
    assert!(names(&scene.path(".")).is_empty());
}
