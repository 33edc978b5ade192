//! Bundles of other people: what is read, what is refused, and what a policy may do.

use std::time::Duration;

use countersign_policy::{Bundle, DecisionId, Limits, Policy, PolicyError, Request};
use fixture::{AGENT, agent, anonymous, connect, decide, module, now};

mod fixture;

const ALL: &str = "package countersign.access\ndecision := {\"allow\": true, \"rule\": \"all\"}\n";

#[track_caller]
fn check_refused(files: &[(&str, &str)], expected: &[&str]) {
    let files = files.iter().map(|(path, text)| (*path, text.as_bytes()));
    let error = Bundle::load(files, &Limits::default()).expect_err("a faulty bundle");
    let told: Vec<_> = error.faults.iter().map(ToString::to_string).collect();
    assert_eq!(told, expected);
}

#[track_caller]
fn check_decision(rego: &str, expected: &str) {
    let policy = module(rego, Limits::default());
    let told = match decide(&policy, &agent(AGENT), "postgres") {
        Ok(permit) => format!("allowed: {}", permit.rule()),
        Err(denial) => match denial.policy_error() {
            Some(error) => format!("error: {error}"),
            None => format!("denied: {}", denial.rule()),
        },
    };
    assert_eq!(told, expected);
}

#[test]
fn the_built_in_bundle_is_what_it_was() {
    let files: String = Bundle::built_in_files()
        .map(|(path, text)| format!("==> {path}\n{text}"))
        .collect();
    insta::assert_snapshot!(files);
    assert_eq!(Bundle::built_in().revision(), "built-in@3");
}

#[test]
fn a_bundle_without_a_decision_is_refused() {
    let missing = "no rule defines `data.countersign.access.decision`";
    check_refused(&[], &[missing]);
    check_refused(
        &[("a.rego", "package countersign.access\nallow := true\n")],
        &[missing],
    );
}

#[test]
fn every_fault_is_told_with_its_file_and_line() {
    check_refused(
        &[
            ("a.rego", "package countersign.access\n\ndecision := {\n"),
            ("b.rego", "package b\nx := 1 +\n"),
            ("data.json", "{\n  \"a\": 1,\n}"),
        ],
        &[
            "data.json:3:1: trailing comma at line 3 column 1",
            "a.rego:4:1: expecting expression",
            "b.rego:3:1: expecting expression",
        ],
    );
}

#[test]
fn a_name_that_nothing_defines_denies_and_is_told_with_its_line() {
    check_decision(
        "package countersign.access\n\ndecision := rule if rule := nothing\n",
        "error: the policy failed: policy.rego:3:29: var nothing is unsafe",
    );
}

#[test]
fn rules_that_rest_on_themselves_are_told() {
    check_decision(
        "package countersign.access\ndecision := x\nx := y\ny := x\n",
        "error: the policy failed: policy.rego:3:1: cyclic evaluation",
    );
}

#[test]
fn what_a_bundle_means_is_never_half_read() {
    let with =
        |path, text, expected: &str| check_refused(&[("a.rego", ALL), (path, text)], &[expected]);
    with(
        ".manifest",
        "{",
        ".manifest:1:1: EOF while parsing an object at line 1 column 1",
    );
    with(
        ".manifest",
        r#"{"rego_version":0}"#,
        ".manifest: `rego_version` is `0`, only Rego v1 is evaluated",
    );
    with(
        ".manifest",
        r#"{"wasm":[{}]}"#,
        ".manifest: `wasm` is not evaluated: ship the Rego modules",
    );
    with(
        "policy.wasm",
        "",
        "policy.wasm: WebAssembly is not evaluated: ship the Rego modules",
    );
    with(
        "x/data.yaml",
        "",
        "x/data.yaml: data is read from `data.json` only",
    );
    with(
        ".signatures.json",
        "{}",
        ".signatures.json: signatures of bundles cannot be verified yet: a signed bundle is refused",
    );
}

#[test]
fn a_bundle_stays_in_its_roots_and_leaves_grants_alone() {
    let manifest = (".manifest", r#"{"roots":["countersign/access","site"]}"#);
    check_refused(
        &[
            manifest,
            ("a.rego", ALL),
            ("b.rego", "package other\nx := 1\n"),
            ("site/data.json", r#"{"hours":{"from":8}}"#),
            (
                "countersign/data.json",
                r#"{"access":{"a":1},"other":{"b":2}}"#,
            ),
        ],
        &[
            "b.rego: `data.other` lies outside the manifest's roots",
            "data.json: `data.countersign.other` lies outside the manifest's roots",
        ],
    );
    let grants = "`data.grants` is the operator's: a bundle cannot define grants";
    check_refused(
        &[
            ("a.rego", ALL),
            ("b.rego", "package grants\nx := 1\n"),
            ("grants/data.json", r#"{"a":1}"#),
        ],
        &[
            &format!("b.rego: {grants}"),
            &format!("data.json: {grants}"),
        ],
    );
}

#[test]
fn data_of_several_files_is_merged_and_a_contradiction_is_told() {
    let rego = "package countersign.access\ndecision := {\"allow\": true, \"rule\": data.site.name} if data.site.hours.from == 8\n";
    let files = [
        ("./policy/a.rego", rego),
        ("/data.json", r#"{"site":{"name":"north"}}"#),
        ("site/hours/data.json", r#"{"from":8}"#),
        ("README.md", "not read"),
    ];
    let limits = Limits::default();
    let bundle = Bundle::load(files.map(|(path, text)| (path, text.as_bytes())), &limits).unwrap();
    let policy = Policy::new(&bundle, &[], 1, limits).unwrap();
    assert_eq!(
        decide(&policy, &anonymous(), "web").unwrap().rule(),
        "north"
    );
    check_refused(
        &[
            ("a.rego", ALL),
            ("data.json", r#"{"site":{"name":1}}"#),
            ("site/data.json", r#"{"name":2}"#),
        ],
        &["site/data.json: `site/name` is already defined by another `data.json`"],
    );
}

#[test]
fn a_bundle_past_its_limits_is_refused() {
    let load = |limits: Limits| {
        Bundle::load([("a.rego", ALL.as_bytes()), ("data.json", b"{}")], &limits)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        load(Limits {
            bundle_bytes: 20,
            ..Limits::default()
        }),
        "the bundle has more than 20 bytes"
    );
    assert_eq!(
        load(Limits {
            bundle_files: 1,
            ..Limits::default()
        }),
        "the bundle has more than 1 files"
    );
}

#[test]
fn a_policy_can_refuse_in_its_own_words() {
    check_decision(
        "package countersign.access\ndecision := {\"allow\": false, \"rule\": \"closed\"}\n",
        "denied: closed",
    );
}

#[test]
fn an_undefined_decision_is_a_denial() {
    check_decision(
        "package countersign.access\ndecision := 1 if input.principal.kind == \"x\"\n",
        "denied: no grant",
    );
}

#[test]
fn anything_that_is_no_decision_denies_and_says_so() {
    let bad = |value: &str| {
        check_decision(
            &format!("package countersign.access\ndecision := {value}\n"),
            &format!(
                "error: `data.countersign.access.decision` is not {{\"allow\": true or false, \"rule\": text}}: `{value}`"
            ),
        );
    };
    bad("true");
    bad(r#"{"allow":true}"#);
    bad(r#"{"allow":true,"rule":""}"#);
    bad(r#"{"allow":1,"rule":"x"}"#);
    bad(r#"{"allow":"true","rule":"x"}"#);
}

#[test]
fn a_policy_that_fails_denies_and_says_where() {
    check_decision(
        "package countersign.access\ndecision := {\"allow\": true, \"rule\": \"x\"} if 1 / (input.request.port - 5432) > 0\n",
        "error: the policy failed: policy.rego:2:47: divide by zero",
    );
    check_decision(
        "package countersign.access\ndecision := {\"allow\": true, \"rule\": \"a\"}\ndecision := {\"allow\": true, \"rule\": \"b\"}\n",
        "error: the policy failed: policy.rego:3:1: rule conflicts with rule at policy.rego:2:1",
    );
}

#[test]
fn a_policy_that_runs_away_is_stopped_and_denies() {
    let rego = "package countersign.access
decision := {\"allow\": true, \"rule\": \"late\"} if {
	some x in numbers.range(1, 3000)
	some y in numbers.range(1, 3000)
	x + y < 0
}
";
    let limits = Limits {
        evaluation_time: Duration::from_millis(5),
        ..Limits::default()
    };
    let policy = module(rego, limits);
    let denial = decide(&policy, &anonymous(), "web").unwrap_err();
    assert_eq!(
        denial.policy_error(),
        Some(&PolicyError::TimeLimit {
            limit: limits.evaluation_time
        })
    );
    assert_eq!(
        denial.to_string(),
        "`anonymous` may not reach `web`: the policy ran longer than 5 ms"
    );
}

#[test]
fn an_input_past_its_limit_denies() {
    let limits = Limits {
        input_bytes: 1000,
        ..Limits::default()
    };
    let policy = module(ALL, limits);
    assert!(decide(&policy, &anonymous(), "web").is_ok());
    let denial = decide(&policy, &anonymous(), &"w".repeat(1000)).unwrap_err();
    assert!(
        matches!(
            denial.policy_error(),
            Some(PolicyError::InputSize { limit: 1000, .. })
        ),
        "{denial}"
    );
}

#[test]
fn a_policy_that_failed_once_decides_the_next_request() {
    let policy = module(
        "package countersign.access\ndecision := {\"allow\": true, \"rule\": \"x\"} if 1 / (input.request.port - 5432) < 2\n",
        Limits::default(),
    );
    let allowed = |port| {
        let request = Request {
            port,
            ..connect("web")
        };
        policy
            .decide(
                &anonymous(),
                &request,
                DecisionId::from_random([0; 16]),
                now(),
            )
            .is_ok()
    };
    assert!(!allowed(5432));
    assert!(allowed(5433));
}

#[test]
fn a_policy_sees_the_minute_and_a_remembered_decision_ends_with_it() {
    let policy = module(
        "package countersign.access\ndecision := {\"allow\": true, \"rule\": input.time.at} if input.time.weekday == \"monday\"\n",
        Limits::default(),
    );
    let facts = anonymous();
    let rule = |at: &str| {
        let id = DecisionId::from_random([0; 16]);
        let decided = policy.decide(&facts, &connect("web"), id, at.parse().unwrap());
        decided.map_or_else(
            |denial| denial.rule().to_owned(),
            |permit| permit.rule().to_owned(),
        )
    };
    assert_eq!(rule("2026-11-23T09:30:15Z"), "2026-11-23T09:30:00Z");
    assert_eq!(rule("2026-11-23T09:30:59.9Z"), "2026-11-23T09:30:00Z");
    assert_eq!(rule("2026-11-23T23:59:59Z"), "2026-11-23T23:59:00Z");
    assert_eq!(rule("2026-11-24T00:00:00Z"), "no grant");
}

#[test]
fn the_decision_log_is_opas() {
    let policy = fixture::built_in(&[(AGENT, "postgres")]);
    let labels = [("app".to_owned(), "countersign".to_owned())].into();
    let allowed = decide(&policy, &agent(AGENT), "postgres")
        .unwrap()
        .event(&labels);
    insta::assert_json_snapshot!("event_of_a_permit", allowed);
    let denied = decide(&policy, &anonymous(), "postgres")
        .unwrap_err()
        .event(&labels);
    insta::assert_json_snapshot!("event_of_a_denial", denied);
    let failed = decide(
        &module(
            "package countersign.access\ndecision := 1\n",
            Limits::default(),
        ),
        &anonymous(),
        "x",
    );
    insta::assert_json_snapshot!("event_of_an_error", failed.unwrap_err().event(&labels));
}

#[test]
fn an_explanation_shows_what_the_policy_saw_and_printed() {
    let policy = module(
        "package countersign.access\ndecision := {\"allow\": false, \"rule\": \"closed\"} if { print(\"port\", input.request.port) }\n",
        Limits::default(),
    );
    insta::assert_json_snapshot!(policy.explain(&agent(AGENT), &connect("postgres"), now()));
}
