//! Import circles: which module of a folder imports from which, and the circles among them.
//!
//! Every folder is looked at by itself: its files, its folders with all that is in them, and the file
//! that declares it. No circle holds a folder; files of one folder may need each other, but those
//! directly in `src/` may not. A re-export is a name and no import: an import leads to the file that
//! defines the item. Test code and `main.rs` are not read.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// A path from the crate's root: of a module, or of an item in it.
type Path = Vec<String>;
/// By module: the modules that it imports from, with one of the imports.
type Graph = BTreeMap<Path, BTreeMap<Path, String>>;

/// Re-exports that lead to re-exports end here.
const MAX_HOPS: usize = 8;

/// A name that a `use` brings into a module.
struct Use {
    path: Path,
    name: String,
    is_reexport: bool,
}

/// One file.
struct Module {
    file: String,
    uses: Vec<Use>,
    /// Paths that the code spells out.
    paths: Vec<Path>,
}

/// The circles of every crate, an edge a line.
pub(crate) fn circles(sources: &[Source]) -> Vec<String> {
    let mut crates: BTreeMap<&str, BTreeMap<Path, Module>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_test(0)) {
        let Some((name, file)) = source.name.split_once("/src/") else { continue };
        let stem = file.trim_end_matches(".rs").trim_end_matches("/mod");
        if stem == "main" || stem.starts_with("bin/") {
            continue;
        }
        let path = if stem == "lib" { Path::new() } else { split(stem, "/") };
        crates.entry(name).or_default().insert(path, Module::read(source));
    }
    let mut found = Vec::new();
    for (name, modules) in &crates {
        let folders = folders(modules);
        for level in &folders {
            let counts = |node: &Path| level.is_empty() || node != level && folders.contains(node);
            for circle in circles_of(&graph(modules, level), counts) {
                found.push(format!("{name}: a circle of imports:\n  {}", circle.join("\n  ")));
            }
        }
    }
    found
}

fn split(text: &str, separator: &str) -> Path {
    text.split(separator).map(|part| part.trim().to_owned()).collect()
}

/// The root, and each module that has others in it.
fn folders(modules: &BTreeMap<Path, Module>) -> BTreeSet<Path> {
    let parents = modules.keys().filter_map(|path| path.split_last());
    parents.map(|(_, parent)| parent.to_vec()).collect()
}

/// The imports among the modules directly in `level`, each with all that is in it.
fn graph(modules: &BTreeMap<Path, Module>, level: &[String]) -> Graph {
    let member = |module: &Path| module.get(..=level.len()).unwrap_or(module).to_vec();
    let mut graph = Graph::new();
    let inside = modules.iter().filter(|(path, _)| !path.is_empty() && path.starts_with(level));
    for (from, module) in inside {
        let used = module.uses.iter().filter(|used| !used.is_reexport).map(|used| &used.path);
        for path in used.chain(&module.paths) {
            let Some(to) = resolve(modules, from, path, MAX_HOPS) else { continue };
            let (from, to) = (member(from), member(&to));
            if to.is_empty() || !to.starts_with(level) || from == to {
                continue;
            }
            let import = format!("{}: {}", module.file, path.join("::"));
            graph.entry(from).or_default().entry(to).or_insert(import);
        }
    }
    graph
}

/// The module that defines what a path in `module` names; `None` outside the crate.
fn resolve(
    modules: &BTreeMap<Path, Module>,
    module: &[String],
    path: &[String],
    hops: usize,
) -> Option<Path> {
    let child = |at: &[String], name: &String| {
        let path: Path = at.iter().chain([name]).cloned().collect();
        modules.contains_key(&path).then_some(path)
    };
    let ups = path.iter().take_while(|part| *part == "super").count();
    let (mut at, rest) = match path.first()?.as_str() {
        "crate" => (Path::new(), &path[1..]),
        "self" => (module.to_vec(), &path[1..]),
        "super" => (module[..module.len().saturating_sub(ups)].to_vec(), &path[ups..]),
        _ => match child(module, &path[0]) {
            Some(at) => (at, &path[1..]),
            None => return imported(modules, module, path, hops),
        },
    };
    for part in rest {
        if let Some(path) = child(&at, part) {
            at = path;
            continue;
        }
        let item = std::slice::from_ref(part);
        return imported(modules, &at, item, hops).or(Some(at));
    }
    Some(at)
}

/// The same for a path that begins with a name of a `use`.
fn imported(
    modules: &BTreeMap<Path, Module>,
    module: &[String],
    path: &[String],
    hops: usize,
) -> Option<Path> {
    let mut uses = modules.get(module)?.uses.iter().filter(|used| used.name == path[0]);
    let path = [&uses.next()?.path, &path[1..]].concat();
    resolve(modules, module, &path, hops.checked_sub(1)?)
}

/// The circles that hold a module which counts: of those that reach each other, each edge among them.
fn circles_of(graph: &Graph, counts: impl Fn(&Path) -> bool) -> Vec<Vec<String>> {
    let reached: BTreeMap<&Path, BTreeSet<&Path>> =
        graph.keys().map(|from| (from, reachable(graph, from))).collect();
    let together = |a: &Path, b: &Path| {
        let reaches = |a, b| reached.get(a).is_some_and(|found| found.contains(b));
        reaches(a, b) && reaches(b, a)
    };
    let (mut circles, mut seen) = (Vec::new(), BTreeSet::<&Path>::new());
    for start in graph.keys().filter(|node| together(node, node)) {
        if seen.contains(start) {
            continue;
        }
        let members: Vec<_> = graph.keys().filter(|node| together(start, node)).collect();
        seen.extend(&members);
        if !members.iter().any(|node| counts(node)) {
            continue;
        }
        let mut edges = Vec::new();
        for from in &members {
            for (to, import) in graph[*from].iter().filter(|(to, _)| members.contains(to)) {
                edges.push(format!("{} → {}   {import}", from.join("/"), to.join("/")));
            }
        }
        circles.push(edges);
    }
    circles
}

fn reachable<'a>(graph: &'a Graph, from: &Path) -> BTreeSet<&'a Path> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&Path> = graph[from].keys().collect();
    while let Some(node) = next.pop() {
        if found.insert(node) {
            next.extend(graph.get(node).into_iter().flat_map(BTreeMap::keys));
        }
    }
    found
}

impl Module {
    fn read(source: &Source) -> Self {
        let (mut uses, mut paths) = (Vec::new(), Vec::new());
        let lines = source.code.iter().enumerate().filter(|(index, _)| !source.is_test(*index));
        let mut lines = lines.map(|(_, code)| code.trim());
        while let Some(line) = lines.next() {
            let visibility = line.split("use ").next().unwrap_or_default().trim();
            let is_use = line.contains("use ") && (visibility.is_empty() || is_public(visibility));
            if !is_use {
                paths.extend(spelled_out(line));
                continue;
            }
            let mut tree = line.split_once("use ").unwrap_or_default().1.to_owned();
            while !tree.contains(';') {
                tree.push_str(lines.next().unwrap_or(";"));
            }
            let tree = tree.trim_end_matches(';');
            expand(tree, &[], !visibility.is_empty(), &mut uses);
        }
        Self { file: source.name.clone(), uses, paths }
    }
}

fn is_public(visibility: &str) -> bool {
    visibility == "pub" || (visibility.starts_with("pub(") && visibility.ends_with(')'))
}

/// The names of a `use` tree.
fn expand(tree: &str, prefix: &[String], is_reexport: bool, uses: &mut Vec<Use>) {
    if let Some((head, rest)) = tree.split_once('{') {
        let head = head.trim().trim_end_matches("::");
        let head = if head.is_empty() { Path::new() } else { split(head, "::") };
        let prefix = [prefix, &head].concat();
        let (mut depth, mut start) = (0, 0);
        let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
        for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    let part = inside[start..at].trim();
                    if !part.is_empty() {
                        expand(part, &prefix, is_reexport, uses);
                    }
                    start = at + 1;
                }
                _ => {}
            }
        }
        return;
    }
    let (path, name) = tree.split_once(" as ").unwrap_or((tree, ""));
    let mut path = [prefix, &split(path, "::")].concat();
    path.pop_if(|last| last == "self" && !prefix.is_empty());
    let last = path.last().cloned().unwrap_or_default();
    let name = if name.is_empty() { last } else { name.trim().to_owned() };
    uses.push(Use { path, name, is_reexport });
}

/// The paths that a line of code spells out, such as `crate::store::open`.
fn spelled_out(line: &str) -> Vec<Path> {
    let words = line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    let words = words.map(|word| word.trim_end_matches(':')).filter(|word| word.contains("::"));
    words.map(|word| split(word, "::")).collect()
}
