//! A source file as rules see it: its lines, the same without comments, and where the tests begin.
//!
//! Clippy and the compiler enforce what needs a parser (`clippy.toml`, `[workspace.lints]`). A rule
//! here reads lines as rustfmt leaves them: a comment ends its line, and strings are code.

/// Parts of the names of files that only tests declare.
const TESTS: [&str; 6] =
    ["/tests/", "/tests.rs", "_tests.rs", "/testscripts/", "/properties.rs", "/test_data.rs"];

/// One file.
pub(crate) struct Source {
    /// From the root of the repository.
    pub(crate) name: String,
    /// Line by line, without comments.
    pub(crate) code: Vec<String>,
    /// Whether it opens with `//!`.
    pub(crate) has_header: bool,
    /// The index of the line from which on everything is test code.
    pub(crate) tests_from: Option<usize>,
}

impl Source {
    /// Reads a file's text.
    pub(crate) fn read(name: String, text: &str) -> Self {
        let uncommented = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
        let code: Vec<String> = text.lines().map(uncommented).collect();
        let in_a_block = |from: &usize| {
            let item = code[from + 1..].iter().find(|line| !line.trim_start().starts_with("#["));
            item.is_some_and(|line| line.contains("mod ") && line.contains('{'))
        };
        let tests_from = (0..code.len())
            .filter(|index| code[*index].starts_with("#[cfg(test)]"))
            .find(in_a_block);
        Self { name, code, has_header: text.starts_with("//!"), tests_from }
    }

    /// Whether it is one of these files, or in one of these folders.
    pub(crate) fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.name.starts_with(place))
    }

    /// Whether the line is test code.
    pub(crate) fn is_test(&self, index: usize) -> bool {
        self.name.starts_with("tests/")
            || TESTS.iter().any(|part| self.name.contains(part))
            || self.tests_from.is_some_and(|from| index >= from)
    }

    /// The indexes of the lines of `#[test]` functions. A function ends with the brace that stands
    /// below its attribute.
    pub(crate) fn lines_of_tests(&self) -> Vec<usize> {
        let (mut lines, mut end) = (Vec::new(), None);
        for (index, code) in self.code.iter().enumerate() {
            let item = code.trim_start();
            if item.starts_with("#[") && (item.contains("[test]") || item.contains("::test")) {
                end = Some(format!("{}}}", &code[..code.len() - item.len()]));
            }
            if end.is_some() {
                lines.push(index);
            }
            if end.as_deref() == Some(code.trim_end()) {
                end = None;
            }
        }
        lines
    }
}
