//! The table of crates in ARCHITECTURE.md, held against what Cargo knows.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stopped"
)]

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Each crate of ours, with those of ours that it needs.
type Edges = BTreeMap<String, Vec<String>>;

#[test]
fn our_crates_depend_on_each_other_as_architecture_md_says() {
    assert_eq!(drawn(include_str!("../../../ARCHITECTURE.md")), real());
}

/// The rows `` | `crate` | what it is | `needed`, `needed` | ``.
fn drawn(page: &str) -> Edges {
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| `countersign"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        (quoted(cells[0]).concat(), quoted(cells[cells.len() - 1]))
    };
    rows.map(row).collect()
}

/// What stands in backticks, sorted.
fn quoted(cell: &str) -> Vec<String> {
    let mut quoted: Vec<_> = cell
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    quoted.sort();
    quoted
}

fn real() -> Edges {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .unwrap();
    let ours: Vec<_> = metadata
        .workspace_packages()
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let needed = |package: &Package| {
        let dependencies = package.dependencies.iter();
        let shipped =
            dependencies.filter(|dependency| dependency.kind != DependencyKind::Development);
        let mut needed: Vec<_> = shipped.map(|dependency| dependency.name.clone()).collect();
        needed.retain(|name| ours.contains(name));
        needed.sort();
        needed
    };
    let packages = metadata.workspace_packages().into_iter();
    packages
        .map(|package| (package.name.to_string(), needed(package)))
        .collect()
}
