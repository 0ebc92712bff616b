// SPDX-License-Identifier: MIT OR Apache-2.0

//! Files of a crate know each other in one direction only: there is no circle of modules that
//! import each other, so that each can be read, and tested, with nothing but those below it.
//!
//! Looked at are the sources as text. A module of the crate and the files in its folder, which
//! go on with it, are one; within the folder they are looked at by themselves. What only tests
//! use does not count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

type Graph = BTreeMap<String, BTreeSet<String>>;

/// The code of a file without comments and without its unit tests.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    text[..end]
        .lines()
        .map(|l| l.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The first name of each path in `rest`, which begins after `crate::`: one, or those of a
/// list in braces.
fn names(rest: &str) -> Vec<String> {
    let name = |s: &str| -> String {
        s.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(list) = rest.strip_prefix('{') else {
        return vec![name(rest)];
    };
    let (mut found, mut depth, mut begin) = (Vec::new(), 1, 0);
    for (i, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || depth == 1 && c == ',' {
            found.push(name(&list[begin..i]));
            begin = i + 1;
        }
        if depth == 0 {
            break;
        }
    }
    found.retain(|n| !n.is_empty());
    found
}

/// The modules that are named after `root`, as `crate::` or `super::`.
fn used(code: &str, root: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (i, _) in code.match_indices(root) {
        // Not the end of another path or name.
        if !code[..i].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            all.extend(names(&code[i + root.len()..]));
        }
    }
    all
}

/// A circle of the graph, if there is one.
fn circle(graph: &Graph) -> Option<Vec<&str>> {
    fn visit<'a>(
        graph: &'a Graph,
        at: &'a str,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> bool {
        if let Some(begin) = path.iter().position(|p| *p == at) {
            path.drain(..begin);
            path.push(at);
            return true;
        }
        if !done.contains(at) {
            path.push(at);
            for next in &graph[at] {
                if visit(graph, next, path, done) {
                    return true;
                }
            }
            path.pop();
            done.insert(at);
        }
        false
    }
    let (mut path, mut done) = (Vec::new(), BTreeSet::new());
    graph
        .keys()
        .any(|at| visit(graph, at, &mut path, &mut done))
        .then_some(path)
}

/// Who of these files uses whom of them.
fn graph(files: &BTreeMap<String, String>, root: &str) -> Graph {
    files
        .iter()
        .map(|(file, text)| {
            let others = used(&code(text), root)
                .into_iter()
                .filter(|n| n != file && files.contains_key(n));
            (file.clone(), others.collect())
        })
        .collect()
}

/// The files of a folder by the module that they are; with those in its folders, if `deep`.
fn files(folder: &Path, deep: bool) -> BTreeMap<String, String> {
    let mut all = BTreeMap::<String, String>::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        // One for each release of QEMU.
        let module = if stem.starts_with("glue_") {
            "glue"
        } else {
            stem
        };
        let text = if path.extension().is_some_and(|e| e == "rs") {
            fs::read_to_string(&path).unwrap()
        } else if deep && path.is_dir() {
            files(&path, true).into_values().collect::<String>()
        } else {
            continue;
        };
        let all = all.entry(module.into()).or_default();
        // Tests are at the end of a file, not of what is put together here.
        all.push_str(&code(&text));
        all.push('\n');
    }
    all
}

#[test]
fn no_crate_has_a_circle_of_files() {
    for source in [
        "carrier/src",
        "dpi-bridge/src",
        "host/src",
        "protocol/src",
        "record/src",
        "replay/src",
        "trace/src",
        "qemu-rust-device/src",
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let mut modules = files(&folder, true);
        modules.remove("lib");
        assert!(modules.len() > 1, "{source}");
        let whole = graph(&modules, "crate::");
        assert!(whole.values().any(|u| !u.is_empty()), "{source}: {whole:?}");
        assert_eq!(circle(&whole), None, "in {source}");
        for module in modules.keys() {
            let folder = folder.join(module);
            if folder.is_dir() {
                let parts = graph(&files(&folder, false), "super::");
                assert_eq!(circle(&parts), None, "in {source}/{module}");
            }
        }
    }
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    let of = |texts: [&str; 3]| {
        let files = ["a", "b", "c"].map(String::from).into_iter();
        graph(&files.zip(texts.map(String::from)).collect(), "crate::")
    };
    let one_way = of([
        "use crate::{\n    b::{self, c},\n    c,\n};",
        "fn f() { crate::c::g() }",
        "// use crate::a;\nuse other_crate::a;\n#[cfg(test)]\nmod tests { use crate::a; }",
    ]);
    let by = |from: &str, to: &[&str]| {
        assert_eq!(one_way[from], to.iter().map(|s| (*s).into()).collect());
    };
    by("a", &["b", "c"]);
    by("b", &["c"]);
    by("c", &[]);
    assert_eq!(circle(&one_way), None);
    for back in [
        "use crate::a;",
        "use crate::{a::X, d};",
        "const X: u32 = crate::a::X;",
        "macro_rules! m { () => { $crate::a::f() } }",
    ] {
        let round = of(["use crate::b;", "use crate::{c};", back]);
        assert_eq!(circle(&round), Some(vec!["a", "b", "c", "a"]), "{back}");
    }
}
