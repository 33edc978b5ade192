//! The page of stages and profiles, written from the data that the code goes by.

use std::fmt::Display;

use crate::profile::Profile;
use crate::registry::{Group, Scheme, Suite};
use crate::stage::{Kind, Rules, Stage};

/// `docs/profiles.md`: what each profile allows, what stays classical under it, and who may connect in each stage.
pub fn profiles_page() -> String {
    let mut page = String::from(INTRODUCTION);
    for profile in Profile::ALL {
        page.push_str(&profile_section(profile));
    }
    page.push_str(MATRIX);
    for stage in Stage::ALL {
        for profile in Profile::ALL {
            page.push_str(&matrix_row(stage, profile));
        }
    }
    page
}

fn profile_section(profile: Profile) -> String {
    let mut section = format!("\n## `{profile}`\n\n| | |\n|---|---|\n");
    for (name, value) in profile_rows(profile) {
        section.push_str(&format!("| {name} | {value} |\n"));
    }
    section.push_str("\nWhat stays classical:\n\n");
    for residue in profile.residues() {
        section.push_str(&format!("* {}: {}\n", residue.what, residue.why));
    }
    section
}

fn profile_rows(profile: Profile) -> [(&'static str, String); 9] {
    let groups = |groups: &[Group]| coded(groups.iter().map(|group| (group, group.0)));
    let suites = |suites: &[Suite]| coded(suites.iter().map(|suite| (suite, suite.0)));
    let schemes = |schemes: &[Scheme]| coded(schemes.iter().map(|scheme| (scheme, scheme.0)));
    let token = format!("`{}`", profile.token_version().name());
    [
        ("key exchange", groups(profile.groups())),
        (
            "classical key exchange under an exception",
            groups(profile.canary_groups()),
        ),
        ("suites", suites(profile.suites())),
        (
            "signatures between agent and gateway",
            schemes(profile.agent_schemes()),
        ),
        (
            "signatures for agentless clients",
            schemes(profile.agentless_schemes()),
        ),
        (
            "keys of agents and gateways",
            profile.leaf_key().to_string(),
        ),
        ("the authority's key", profile.anchor_key().to_string()),
        ("access tokens", token),
        (
            "hash outside the handshake",
            profile.hash().name().to_owned(),
        ),
    ]
}

fn matrix_row(stage: Stage, profile: Profile) -> String {
    match Rules::new(stage, profile) {
        Ok(rules) => {
            let [agent, agentless] =
                [Kind::Agent, Kind::Agentless].map(|kind| rules.admission(kind).in_words());
            format!("| `{stage}` | `{profile}` | {agent} | {agentless} |\n")
        }
        Err(_) => format!(
            "| `{stage}` | `{profile}` | refused when it is configured | refused when it is configured |\n"
        ),
    }
}

fn coded<T: Display>(items: impl Iterator<Item = (T, u16)>) -> String {
    let items: Vec<String> = items
        .map(|(name, code)| format!("{name} ({code:#06x})"))
        .collect();
    items.join(", ")
}

const INTRODUCTION: &str = "\
# Stages and profiles

A profile is a named list of what a channel may be made of, and its version is frozen: a change is a new version. A stage
says how far a listener has come in its migration. A listener has one of each. Names and numbers are those of the IANA
registries; what is not listed under a profile is neither offered nor accepted.

This page is written from the data that the code goes by, and a test holds it to them.
";

const MATRIX: &str = "
## Who may connect

An agent asks for the gateway by the gateway's own server name; every other TLS 1.3 client is agentless. No exception is
for agents.

| stage | profile | agent | agentless client |
|---|---|---|---|
";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_page_in_docs_is_the_one_that_the_code_writes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/profiles.md");
        if std::env::var_os("COUNTERSIGN_WRITE_DOCS").is_some() {
            std::fs::write(&path, profiles_page()).unwrap();
        }
        let page = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            page,
            profiles_page(),
            "run this test with COUNTERSIGN_WRITE_DOCS=1 and look at the difference"
        );
    }
}
