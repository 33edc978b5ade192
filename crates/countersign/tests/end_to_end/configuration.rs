//! Configurations that are wrong: the line, the value, and what was probably meant.

use crate::support::{countersign, run};

#[test]
fn a_wrong_configuration_is_told_by_line_and_value() {
    for (text, error, hint) in [
        (
            "trust_domain = \"example.org\"\nstat_dir = \"s\"\n",
            "line 2: unknown key `stat_dir`",
            "did you mean `state_dir`?",
        ),
        ("trust_domain = 7\n", "line 1: `trust_domain` has to be", ""),
        (
            "[[listener]]\n",
            "`trust_domain` is missing",
            "set `trust_domain`",
        ),
        (
            "trust_domain = \"example.org\"\n[[listener]]\nstage = \"strickt\"\n",
            "line 3: `stage` has to be",
            "",
        ),
        (
            "trust_domain = \"example.org\"\n[[listener]]\nstage = \"strict\"\nprofile = \"fips-hybrid@1\"\n",
            "cannot both hold",
            "hint: ",
        ),
        (
            "trust_domain = \"example.org\"\n[[listener]\n",
            "line 2: this is not TOML",
            "",
        ),
    ] {
        check("gateway", text, error, hint);
    }
    check(
        "agent",
        "profil = \"hybrid@1\"\n",
        "line 1: unknown key `profil`",
        "did you mean `profile`?",
    );
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let told = run(
        countersign().args(["gateway", "--config", "/nowhere/gateway.toml"]),
        "",
    );
    assert_eq!(told.status.code(), Some(2));
    assert!(
        told.stderr
            .contains("cannot read the configuration `/nowhere/gateway.toml`"),
        "{told:?}"
    );
}

fn check(command: &str, text: &str, error: &str, hint: &str) {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    let told = run(countersign().args([command, "--config"]).arg(&file), "");
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    assert!(told.stderr.starts_with("error: "), "{told:?}");
    assert!(told.stderr.contains(error), "{error}: {told:?}");
    assert!(told.stderr.contains(hint), "{hint}: {told:?}");
}
