//! Options in Python's words, as the engine's.

use std::time::Duration;

use bitcask::{Compression, Durability, Expiry, Index, IoMode, MergePolicy, Options};
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString};

use crate::error;

/// The longest of times, in seconds: some 30,000 years.
const SECONDS_MAX: f64 = 1e12;

/// For who has mistyped one.
const MERGE_SETTINGS: &str = "background, dead_ratio_trigger, dead_bytes_trigger, dead_ratio_threshold, \
    dead_bytes_threshold, small_file_bytes, rate_bytes_per_second, window_utc_hours and check_interval";

/// The engine's options from a dict that has only what differs from the defaults.
pub(crate) fn options(given: &Bound<'_, PyDict>) -> PyResult<Options> {
    let py = given.py();
    let mut options = Options::new();
    for (name, value) in given.iter() {
        let name = name.extract::<String>()?;
        options = match name.as_str() {
            "create" => options.create_if_missing(truth(&value, &name)?),
            "must_be_new" => options.error_if_exists(truth(&value, &name)?),
            "durability" => options.durability(durability(&value)?),
            "index" => options.index(index(&value)?),
            "compression" => options.compression(compression(&value)?),
            "io" => options.io(io(&value)?),
            "memory_budget" => options.memory_budget(count(&value, &name)?),
            "max_file_size" => options.max_file_size(count(&value, &name)?),
            "verify_reads" => options.verify_reads(truth(&value, &name)?),
            "merge" => options.merge(merge_policy(&value)?),
            _ => return Err(error::invalid(py, format!("there is no option {name:?}"))),
        };
    }
    Ok(options)
}

pub(crate) fn is_ordered(given: &Bound<'_, PyDict>) -> PyResult<bool> {
    let chosen = given.get_item("index")?;
    Ok(chosen.is_some_and(|value| value.extract::<String>().is_ok_and(|name| name == "ordered")))
}

fn durability(value: &Bound<'_, PyAny>) -> PyResult<Durability> {
    if value.is_instance_of::<PyString>() {
        return match value.extract::<String>()?.as_str() {
            "always" => Ok(Durability::Always),
            "os" => Ok(Durability::Os),
            other => Err(wrong(value, "durability", &["\"always\"", "\"os\"", "seconds"], other)),
        };
    }
    let seconds = duration(value, "durability")?;
    Ok(Durability::Interval(seconds))
}

fn index(value: &Bound<'_, PyAny>) -> PyResult<Index> {
    match text(value, "index")?.as_str() {
        "hash" => Ok(Index::Hash),
        "ordered" => Ok(Index::Ordered),
        other => Err(wrong(value, "index", &["\"hash\"", "\"ordered\""], other)),
    }
}

fn compression(value: &Bound<'_, PyAny>) -> PyResult<Compression> {
    if let Ok((name, level)) = value.extract::<(String, i32)>()
        && name == "zstd"
    {
        return Ok(Compression::Zstd { level });
    }
    match value.extract::<String>().unwrap_or_default().as_str() {
        "lz4" => Ok(Compression::Lz4),
        "zstd" => Ok(Compression::zstd()),
        _ => {
            let choices = ["None", "\"lz4\"", "\"zstd\"", "(\"zstd\", level)"];
            Err(wrong(value, "compression", &choices, &value.repr()?.to_string()))
        }
    }
}

fn io(value: &Bound<'_, PyAny>) -> PyResult<IoMode> {
    match text(value, "io")?.as_str() {
        "auto" => Ok(IoMode::Auto),
        "mapped" => Ok(IoMode::Mapped),
        "plain" => Ok(IoMode::Plain),
        other => Err(wrong(value, "io", &["\"auto\"", "\"mapped\"", "\"plain\""], other)),
    }
}

/// Whether merges run by themselves, or how, by the names that the engine has for it.
fn merge_policy(value: &Bound<'_, PyAny>) -> PyResult<MergePolicy> {
    let mut policy = MergePolicy::default();
    if let Ok(background) = value.cast::<PyBool>() {
        policy.background = background.is_true();
        return Ok(policy);
    }
    let Ok(given) = value.cast::<PyDict>() else {
        return Err(PyTypeError::new_err("merge is True, False, or a dict of settings"));
    };
    for (name, value) in given.iter() {
        let name = name.extract::<String>()?;
        match name.as_str() {
            "background" => policy.background = value.extract()?,
            "dead_ratio_trigger" => policy.dead_ratio_trigger = value.extract()?,
            "dead_bytes_trigger" => policy.dead_bytes_trigger = value.extract()?,
            "dead_ratio_threshold" => policy.dead_ratio_threshold = value.extract()?,
            "dead_bytes_threshold" => policy.dead_bytes_threshold = value.extract()?,
            "small_file_bytes" => policy.small_file_bytes = value.extract()?,
            "rate_bytes_per_second" => policy.rate_bytes_per_second = value.extract()?,
            "window_utc_hours" => policy.window_utc_hours = value.extract()?,
            "check_interval" => policy.check_interval = duration(&value, "check_interval")?,
            _ => {
                let text = format!("there is no setting {name:?} of merge, only {MERGE_SETTINGS}");
                return Err(error::invalid(given.py(), text));
            }
        }
    }
    Ok(policy)
}

fn truth(value: &Bound<'_, PyAny>, name: &str) -> PyResult<bool> {
    let truth = value.extract::<bool>();
    truth.map_err(|_other| PyTypeError::new_err(format!("{name} is True or False")))
}

fn count(value: &Bound<'_, PyAny>, name: &str) -> PyResult<u64> {
    value.extract::<u64>().map_err(|e| match e.is_instance_of::<PyOverflowError>(value.py()) {
        true => error::invalid(value.py(), format!("{name} is a number of bytes, not {value}")),
        false => PyTypeError::new_err(format!("{name} is a whole number of bytes")),
    })
}

fn text(value: &Bound<'_, PyAny>, name: &str) -> PyResult<String> {
    value.extract::<String>().map_err(|_not_text| PyTypeError::new_err(format!("{name} is a str")))
}

fn wrong(value: &Bound<'_, PyAny>, name: &str, choices: &[&str], given: &str) -> PyErr {
    let text = format!("{name} is one of {}, not {given}", choices.join(", "));
    error::invalid(value.py(), text)
}

/// Seconds, or a `timedelta`.
fn duration(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Duration> {
    let seconds = match value.extract::<f64>() {
        Ok(seconds) if !value.is_instance_of::<PyBool>() => seconds,
        _ => match value.call_method0("total_seconds").and_then(|seconds| seconds.extract()) {
            Ok(seconds) => seconds,
            Err(_) => {
                let text = format!("{name} is a number of seconds or a timedelta");
                return Err(PyTypeError::new_err(text));
            }
        },
    };
    let fits = (0.0..=SECONDS_MAX).contains(&seconds);
    let duration = Duration::try_from_secs_f64(seconds).ok().filter(|_| fits);
    duration.ok_or_else(|| {
        let text = format!("{name} is from 0 to {SECONDS_MAX:e} seconds, not {seconds}");
        error::invalid(value.py(), text)
    })
}

/// When a key expires that has this time to live.
pub(crate) fn expiry(ttl: Option<&Bound<'_, PyAny>>) -> PyResult<Expiry> {
    match ttl {
        None => Ok(Expiry::Never),
        Some(ttl) => duration(ttl, "ttl").map(Expiry::After),
    }
}
