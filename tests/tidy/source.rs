//! A source file as rules see it: raw lines, code without comments and strings, and where the
//! tests begin.

use std::collections::BTreeSet;

/// One file.
pub(crate) struct Source {
    /// From the root of the repository.
    pub(crate) name: String,
    /// Line by line, as it stands.
    pub(crate) raw: Vec<String>,
    /// Line by line, comments and the insides of strings blanked.
    pub(crate) code: Vec<String>,
    /// The strings, by the index of the line in which they begin.
    pub(crate) literals: Vec<(usize, String)>,
    /// The index of the line from which on everything is test code.
    pub(crate) tests_from: Option<usize>,
    only_tests: bool,
}

impl Source {
    /// Reads a file's text.
    pub(crate) fn read(name: String, text: &str) -> Self {
        let (code, literals) = blank(text);
        let code: Vec<String> = code.lines().map(str::to_owned).collect();
        let raw = text.lines().map(str::to_owned).collect();
        let in_a_block = |from: &usize| {
            let item = code[from + 1..].iter().find(|line| !line.trim_start().starts_with("#["));
            item.is_some_and(|line| line.contains("mod ") && line.contains('{'))
        };
        let tests_from = (0..code.len())
            .filter(|index| code[*index].starts_with("#[cfg(test)]"))
            .find(in_a_block);
        Self { name, raw, code, literals, tests_from, only_tests: false }
    }

    /// Whether it is one of these files, or in one of these folders.
    pub(crate) fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.name.starts_with(place))
    }

    /// Whether the line is test code.
    pub(crate) fn is_test(&self, index: usize) -> bool {
        self.only_tests || self.tests_from.is_some_and(|from| index >= from)
    }

    /// The places of the modules that it declares for tests only.
    pub(crate) fn modules_of_tests(&self) -> Vec<String> {
        let folder = self.name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let stem = self.name.trim_end_matches(".rs");
        let is_root = ["/mod", "/lib", "/main"].iter().any(|root| stem.ends_with(root));
        let base = if is_root { folder } else { stem };
        let mut modules = Vec::new();
        for (index, line) in self.code.iter().enumerate() {
            if !line.starts_with("#[cfg(test)]") {
                continue;
            }
            for (code, raw) in self.code.iter().zip(&self.raw).skip(index + 1) {
                if code.starts_with("#[path") {
                    let path = raw.split('"').nth(1).unwrap_or_default();
                    modules.push(format!("{folder}/{path}"));
                }
                if let Some((_, module)) = code.split_once("mod ") {
                    let module = module.trim_end_matches(';');
                    modules.push(format!("{base}/{module}.rs"));
                    modules.push(format!("{base}/{module}/mod.rs"));
                }
                if !code.starts_with("#[") {
                    break;
                }
            }
        }
        modules
    }

    /// Marks the file as test code when it is in `tests/`, one of these modules or below one.
    pub(crate) fn mark_tests(&mut self, modules: &BTreeSet<String>) {
        let below = |module: &String| {
            let folder = module.strip_suffix("/mod.rs");
            folder.is_some_and(|folder| self.name.starts_with(&format!("{folder}/")))
        };
        self.only_tests = self.name.starts_with("tests/")
            || self.name.contains("/tests/")
            || modules.contains(&self.name)
            || modules.iter().any(below);
    }

    /// Where each function begins, counted from 1, and how many lines it has.
    pub(crate) fn functions(&self) -> Vec<(usize, usize)> {
        let mut functions = Vec::new();
        for (first, line) in self.code.iter().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_head = words.iter().position(|word| *word == "fn").is_some_and(|at| {
                let before = ["pub", "const", "async", "extern", "unsafe"];
                words[..at].iter().all(|w| before.contains(&w.split('(').next().unwrap_or(w)))
            });
            if let Some(lines) = is_head.then(|| self.body(first)).flatten() {
                functions.push((first + 1, lines));
            }
        }
        functions
    }

    /// Lines from a function's head to its closing brace; `None` when it has no body.
    fn body(&self, first: usize) -> Option<usize> {
        let mut depth = 0;
        for (index, line) in self.code.iter().enumerate().skip(first) {
            for c in line.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 1 => return Some(index - first + 1),
                    '}' => depth -= 1,
                    ';' if depth == 0 && !line.contains('[') => return None,
                    _ => {}
                }
            }
        }
        None
    }
}

/// What the text is at one point.
enum Within {
    Code,
    Comment,
    /// `/* … */`, nested so deep.
    Block(usize),
    /// A string that ends with a quote and so many `#`; with `None`, one that has escapes.
    Text(Option<usize>),
}

/// The text without comments and without what strings say; and what they say.
fn blank(text: &str) -> (String, Vec<(usize, String)>) {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut literals: Vec<(usize, String)> = Vec::new();
    let (mut within, mut at, mut line) = (Within::Code, 0, 0);
    let starts = |at: usize, what: &str| {
        what.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c))
    };
    while let Some(&c) = chars.get(at) {
        let mut taken = 1;
        let mut shown = ' ';
        match within {
            Within::Code if starts(at, "//") => within = Within::Comment,
            Within::Code if starts(at, "/*") => within = Within::Block(1),
            Within::Code if c == '"' => {
                let hashes = code.chars().rev().take_while(|c| *c == '#').count();
                let raw = code.trim_end_matches('#').ends_with('r');
                within = Within::Text(raw.then_some(hashes));
                literals.push((line, String::new()));
                shown = '"';
            }
            Within::Code if c == '\'' => {
                // A character, unless it is a lifetime.
                let length = if chars.get(at + 1) == Some(&'\\') {
                    chars[at + 3..].iter().position(|c| *c == '\'').map(|p| p + 4)
                } else {
                    (chars.get(at + 2) == Some(&'\'')).then_some(3)
                };
                taken = length.unwrap_or(1);
            }
            Within::Code => shown = c,
            Within::Comment => {
                if c == '\n' {
                    within = Within::Code;
                }
            }
            Within::Block(depth) if starts(at, "*/") => {
                taken = 2;
                within = if depth == 1 { Within::Code } else { Within::Block(depth - 1) };
            }
            Within::Block(depth) if starts(at, "/*") => {
                taken = 2;
                within = Within::Block(depth + 1);
            }
            Within::Block(_) => {}
            Within::Text(hashes) => {
                let end = format!("\"{}", "#".repeat(hashes.unwrap_or(0)));
                if starts(at, &end) {
                    (within, shown, taken) = (Within::Code, '"', end.len());
                } else {
                    taken = if hashes.is_none() && c == '\\' { 2 } else { 1 };
                    if let Some((_, literal)) = literals.last_mut() {
                        literal.push(c);
                    }
                }
            }
        }
        let lines = chars[at..(at + taken).min(chars.len())].iter().filter(|c| **c == '\n').count();
        line += lines;
        if lines > 0 {
            code.extend(std::iter::repeat_n('\n', lines));
        } else {
            code.push(shown);
        }
        at += taken;
    }
    (code, literals)
}
