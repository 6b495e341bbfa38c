//! The constants in `docs/format.md` are those of the code.
//!
//! The document has tables between `<!-- constants -->` and `<!-- /constants -->`, with rows like
//! `` | `NAME` | 28 | ``. Each name must be a constant of the engine whose value is written as a literal or a
//! shift of two, and equal. Not the other way round: most constants are no part of the format.

use std::collections::BTreeMap;

use super::rust::{Kind, Source, Token};
use super::{Tree, Violation};

const DOC: &str = "docs/format.md";
const SRC: &str = "crates/bitcask/src/";
const BEGIN: &str = "<!-- constants -->";
const END: &str = "<!-- /constants -->";

pub(crate) fn constants(tree: &Tree) -> Vec<Violation> {
    let Some(text) = tree.texts.get(DOC).filter(|text| text.contains(BEGIN)) else {
        return vec![Violation::new(DOC, 0, format!("has no table after {BEGIN}"))];
    };
    let code = in_code(tree);
    let mut found = Vec::new();
    for (line, row) in rows(text) {
        let what = match named_value(row) {
            None => Some("is no row of a name in backticks and a number".to_owned()),
            Some((name, stated)) => fault(name, stated, code.get(name)),
        };
        found.extend(what.map(|what| Violation::new(DOC, line, what)));
    }
    found
}

/// What is wrong with the document stating that `name` is `stated`.
fn fault(name: &str, stated: u128, in_code: Option<&Vec<Option<u128>>>) -> Option<String> {
    let Some(values) = in_code else {
        return Some(format!("{SRC} has no constant `{name}`"));
    };
    values.iter().find_map(|value| match value {
        None => Some(format!("`{name}` in the code is no literal or shift: write it as one")),
        Some(value) if *value != stated => Some(format!("`{name}` is {value} in the code")),
        Some(_) => None,
    })
}

/// The table rows between the markers, without the two that head a table.
fn rows(text: &str) -> Vec<(usize, &str)> {
    let (mut inside, mut in_table) = (false, 0);
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        inside = line == BEGIN || (inside && line != END);
        in_table = if line.starts_with('|') { in_table + 1 } else { 0 };
        if inside && in_table > 2 {
            rows.push((index + 1, line));
        }
    }
    rows
}

fn named_value(row: &str) -> Option<(&str, u128)> {
    let mut cells = row.trim_matches('|').split('|').map(str::trim);
    let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
    let value = cells.next()?.trim_matches('`');
    Some((name, number(&Source::new(value).tokens)?))
}

/// Every constant of the engine outside tests: the values it has, `None` for one that is no plain number.
fn in_code(tree: &Tree) -> BTreeMap<&str, Vec<Option<u128>>> {
    let mut values: BTreeMap<&str, Vec<Option<u128>>> = BTreeMap::new();
    for (_, source) in tree.rust().filter(|(path, _)| path.starts_with(SRC)) {
        let tokens = source.before_tests();
        for at in source.find(&["const"]) {
            // `const NAME: TYPE = VALUE;`
            let Some([name, colon, _, equals, rest @ ..]) = tokens.get(at + 1..) else { continue };
            if colon.text == ":" && equals.text == "=" {
                let end = rest.iter().position(|token| token.text == ";").unwrap_or(rest.len());
                let value = rest.get(..end).and_then(number);
                values.entry(name.text).or_default().push(value);
            }
        }
    }
    values
}

/// A literal, or one shifted left by another.
fn number(tokens: &[Token<'_>]) -> Option<u128> {
    match tokens {
        [one] => literal(*one),
        [one, less, than, by] if less.text == "<" && than.text == "<" => {
            let (one, by) = (literal(*one)?, u32::try_from(literal(*by)?).ok()?);
            one.checked_shl(by).filter(|shifted| shifted >> by == one)
        }
        _ => None,
    }
}

fn literal(token: Token<'_>) -> Option<u128> {
    if token.kind != Kind::Number {
        return None;
    }
    let digits = token.text.replace('_', "");
    let suffixes =
        ["u8", "u16", "u32", "u64", "u128", "usize", "i16", "i32", "i64", "i128", "isize"];
    let digits = suffixes.iter().find_map(|s| digits.strip_suffix(s)).unwrap_or(&digits);
    let bases = [("0x", 16), ("0o", 8), ("0b", 2)];
    let based = bases.iter().find_map(|(prefix, base)| Some((digits.strip_prefix(prefix)?, *base)));
    let (digits, base) = based.unwrap_or((digits, 10));
    u128::from_str_radix(digits, base).ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::places;
    use super::*;

    const CODE: &str = "const A: usize = 1_000;\npub(crate) const B: u64 = 1 << 20;\nconst C: u32 = 0xF0_u32;\n\
        const D: usize = A + 1;\n#[cfg(test)]\nmod tests {\n  const A: usize = 7;\n}\n";

    fn lines(rows: &str) -> Vec<usize> {
        let doc = format!(
            "{BEGIN}\n| name | value |\n|---|---|\n{rows}\n{END}\n| x | y |\n|---|---|\n| z | w |\n"
        );
        let tree = Tree::of(&[(DOC, &doc), (&format!("{SRC}a.rs"), CODE)]);
        constants(&tree).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn equal_constants_pass_however_they_are_written() {
        assert_eq!(
            lines("| `A` | 1000 |\n| `B` | 1048576 |\n| `B` | `1 << 20` | bytes |\n| `C` | 240 |"),
            [0; 0]
        );
    }

    #[test]
    fn a_difference_is_found() {
        assert_eq!(lines("| `A` | 1000 |\n| `B` | 1048577 |\n| `C` | 0xF1 |"), [5, 6]);
    }

    #[test]
    fn a_row_that_cannot_be_compared_is_found() {
        assert_eq!(
            lines("| `NONE` | 1 |\n| `D` | 1001 |\n| A | 1000 |\n| `A` | many |"),
            [4, 5, 6, 7]
        );
    }

    #[test]
    fn a_document_without_the_table_is_found() {
        assert_eq!(places(constants, &[(DOC, "# The format\n")]), ["docs/format.md:0"]);
        assert_eq!(places(constants, &[]), ["docs/format.md:0"]);
    }
}
