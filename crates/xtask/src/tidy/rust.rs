//! Rust source cut into tokens and comments: enough of the language to find a few words in a row without
//! being fooled by strings and comments. It does not parse.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier or keyword.
    Word,
    Number,
    /// A string, byte string or character.
    Text,
    Lifetime,
    /// One character of punctuation.
    Punct,
    Comment,
    Space,
}

/// A piece of the source and the line it starts at, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

/// One file of Rust.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// Everything but comments and space.
    pub(crate) tokens: Vec<Token<'a>>,
    pub(crate) comments: Vec<Token<'a>>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let mut source = Self { tokens: Vec::new(), comments: Vec::new() };
        let (mut rest, mut line) = (text, 1);
        while !rest.is_empty() {
            let (kind, len) = first_piece(rest);
            let (text, after) = rest.split_at(len);
            match kind {
                Kind::Space => {}
                Kind::Comment => source.comments.push(Token { kind, text, line }),
                _ => source.tokens.push(Token { kind, text, line }),
            }
            line += text.matches('\n').count();
            rest = after;
        }
        source
    }

    /// Whether the tokens from `index` on are these.
    pub(crate) fn is_at(&self, index: usize, texts: &[&str]) -> bool {
        let tokens = self.tokens.get(index..).unwrap_or_default();
        tokens.len() >= texts.len()
            && tokens.iter().zip(texts).all(|(token, text)| token.text == *text)
    }

    /// Where these tokens begin, each time they come in a row.
    pub(crate) fn find(&self, texts: &[&str]) -> Vec<usize> {
        (0..self.tokens.len()).filter(|&index| self.is_at(index, texts)).collect()
    }

    /// The index of the token that closes the bracket at `open`, or of the last token.
    pub(crate) fn closing(&self, open: usize) -> usize {
        let mut depth = 0;
        for (index, token) in self.tokens.iter().enumerate().skip(open) {
            match token.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return index;
            }
        }
        self.tokens.len().saturating_sub(1)
    }

    /// The tokens before the test module, which by our rules is the last thing in a file.
    pub(crate) fn before_tests(&self) -> &[Token<'a>] {
        let starts = self.find(&["#", "[", "cfg", "("]);
        let end = starts.into_iter().find(|&start| self.is_test_module(start));
        self.tokens.get(..end.unwrap_or(self.tokens.len())).unwrap_or_default()
    }

    /// The line at which the test module begins, its attribute included.
    pub(crate) fn tests_line(&self) -> Option<usize> {
        self.tokens.get(self.before_tests().len()).map(|token| token.line)
    }

    /// Whether the attribute at `start` is `cfg(test)`, or a `cfg` with `test` in it, of a module with a body.
    fn is_test_module(&self, start: usize) -> bool {
        let mut next = self.closing(start + 1) + 1;
        let condition = self.tokens.get(start..next).unwrap_or_default();
        if !condition.iter().any(|token| token.text == "test") {
            return false;
        }
        while self.is_at(next, &["#", "["]) {
            next = self.closing(next + 1) + 1;
        }
        if self.is_at(next, &["pub"]) {
            next += 1;
            if self.is_at(next, &["("]) {
                next = self.closing(next) + 1;
            }
        }
        self.is_at(next, &["mod"]) && self.is_at(next + 2, &["{"])
    }
}

/// The kind and the length of what `rest` begins with.
fn first_piece(rest: &str) -> (Kind, usize) {
    if rest.starts_with("//") {
        return (Kind::Comment, length_while(rest, |c| c != '\n'));
    }
    if rest.starts_with("/*") {
        return (Kind::Comment, block_comment_len(rest));
    }
    if let Some(len) = text_len(rest) {
        return (Kind::Text, len);
    }
    let first = rest.chars().next().expect("the caller stops at the end");
    match first {
        '\'' => (Kind::Lifetime, 1 + length_while(after(rest, 1), is_word)),
        c if c.is_whitespace() => (Kind::Space, length_while(rest, char::is_whitespace)),
        c if c.is_ascii_digit() => (Kind::Number, length_while(rest, is_word)),
        c if is_word(c) => (Kind::Word, length_while(rest, is_word)),
        c => (Kind::Punct, c.len_utf8()),
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn after(text: &str, index: usize) -> &str {
    text.get(index..).unwrap_or_default()
}

fn length_while(text: &str, wanted: impl Fn(char) -> bool) -> usize {
    text.find(|c| !wanted(c)).unwrap_or(text.len())
}

/// Block comments nest.
fn block_comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let rest = after(text, at);
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest.chars().next().map_or(0, char::len_utf8);
        }
        if depth == 0 || at >= text.len() {
            return at;
        }
    }
}

/// The length of the string or character that `text` begins with, if it does, prefix included.
fn text_len(text: &str) -> Option<usize> {
    for prefix in ["r", "br", "cr"] {
        if let Some(rest) = text.strip_prefix(prefix) {
            let hashes = length_while(rest, |c| c == '#');
            if let Some(body) = after(rest, hashes).strip_prefix('"') {
                let end = format!("\"{}", "#".repeat(hashes));
                let body_len = body.find(&end).map_or(body.len(), |at| at + end.len());
                return Some(prefix.len() + hashes + 1 + body_len);
            }
        }
    }
    for prefix in ["", "b", "c"] {
        if let Some(rest) = text.strip_prefix(prefix) {
            if let Some(body) = rest.strip_prefix('"') {
                return Some(prefix.len() + 1 + escaped_len(body, '"'));
            }
            if let Some(body) = rest.strip_prefix('\'')
                && is_character(body)
            {
                return Some(prefix.len() + 1 + escaped_len(body, '\''));
            }
        }
    }
    None
}

/// Tells `'a'` from the lifetime `'a`.
fn is_character(body: &str) -> bool {
    let mut chars = body.chars();
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

/// Up to and with the first `end` that no backslash escapes.
fn escaped_len(body: &str, end: char) -> usize {
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        if c == end && !escaped {
            return at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        Source::new(source).tokens.iter().map(|token| token.text).collect()
    }

    #[test]
    fn strings_and_comments_are_one_piece_each() {
        assert_eq!(texts(r#"a("b // \" c", 'd', '\'', b'e')"#).len(), 10);
        assert_eq!(texts("r#\"a \" b\"# c"), ["r#\"a \" b\"#", "c"]);
        assert_eq!(texts("a /* b /* c */ d */ e // f"), ["a", "e"]);
        assert_eq!(texts("\"never closed"), ["\"never closed"]);
        assert_eq!(texts("/* never closed"), [""; 0]);
    }

    #[test]
    fn lifetimes_are_not_characters() {
        assert_eq!(texts("<'a> 'a' '_"), ["<", "'a", ">", "'a'", "'_"]);
    }

    #[test]
    fn lines_are_counted_through_strings_and_comments() {
        let source = Source::new("a\n\"b\nc\" d\n/* e\n */ f");
        let lines: Vec<usize> = source.tokens.iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 2, 3, 5]);
    }

    #[test]
    fn tests_begin_at_the_test_module_not_at_a_test_item() {
        let item = "#[cfg(test)]\nuse a;\n#[cfg(test)]\nmod tests;\nfn b() {}\n";
        assert_eq!(Source::new(item).tests_line(), None);
        let module =
            format!("{item}#[cfg(all(test, unix))]\n#[expect(c)]\npub(crate) mod tests {{ }}\n");
        assert_eq!(Source::new(&module).tests_line(), Some(6));
        assert_eq!(Source::new(&module).before_tests().len(), Source::new(item).tokens.len());
    }
}
