//! What a decision costs at 1,000 grants: fresh, remembered, and from several threads.

use std::hint::black_box;
use std::time::Instant;

use countersign_policy::{Bundle, DecisionId, Facts, Grant, Limits, Policy, Request};

#[path = "../tests/fixture/mod.rs"]
mod fixture;

const GRANTS: usize = 1_000;
/// What is left of a decision when the policy costs nothing.
const CONSTANT: &str = r#"package countersign.access
decision := {"allow": true, "rule": "all"}
"#;
const ROUNDS: usize = 20_000;

fn main() {
    let policy = |cached_decisions| {
        let limits = Limits {
            cached_decisions,
            ..Limits::default()
        };
        Policy::new(&Bundle::built_in(), &grants(), 1, limits)
            .expect("the built-in bundle compiles")
    };
    let (fresh, remembered) = (policy(0), policy(4096));
    let exact = fixture::agent("spiffe://example.org/agent/a500");
    let covered = fixture::agent("spiffe://example.org/agent/other");
    let (granted, refused) = (fixture::connect("s500"), fixture::connect("s1"));

    report("fresh, exact grant", || decide(&fresh, &exact, &granted));
    report("fresh, prefix grant", || {
        decide(&fresh, &covered, &fixture::connect("shared"))
    });
    report("fresh, no grant", || decide(&fresh, &exact, &refused));
    let constant = fixture::module(
        CONSTANT,
        Limits {
            cached_decisions: 0,
            ..Limits::default()
        },
    );
    report("fresh, a policy of one constant", || {
        decide(&constant, &exact, &granted)
    });
    report("remembered", || decide(&remembered, &exact, &granted));
    report("explained", || {
        black_box(fresh.explain(&exact, &granted, fixture::now()));
    });
    report("facts of an agent's token", {
        let token = fixture::token("spiffe://example.org/agent/a500", "token");
        move || {
            black_box(Facts::agent(&token, &fixture::KEY, fixture::channel()).expect("its key"));
        }
    });
    report_once("policy from 1,000 grants", || {
        black_box(policy(4096));
    });
}

fn grants() -> Vec<Grant> {
    let own = (1..GRANTS).map(|n| (format!("spiffe://example.org/agent/a{n}"), format!("s{n}")));
    let shared = (
        "spiffe://example.org/agent/*".to_owned(),
        "shared".to_owned(),
    );
    own.chain([shared])
        .map(|(principal, service)| Grant::new(&principal, &service).expect("a grant"))
        .collect()
}

fn decide(policy: &Policy, facts: &Facts, request: &Request) {
    let id = DecisionId::from_random([1; 16]);
    let _ = black_box(policy.decide(black_box(facts), black_box(request), id, fixture::now()));
}

/// The median of 50 runs, each of a fiftieth of the rounds.
fn report(name: &str, mut work: impl FnMut()) {
    const RUNS: usize = 50;
    let mut figures: Vec<_> = (0..RUNS)
        .map(|_| nanoseconds(ROUNDS / RUNS, &mut work))
        .collect();
    figures.sort_by(f64::total_cmp);
    print(name, figures.get(RUNS / 2).copied().unwrap_or_default());
}

fn report_once(name: &str, mut work: impl FnMut()) {
    print(name, nanoseconds(20, &mut work));
}

#[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn nanoseconds(rounds: usize, work: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..rounds {
        work();
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(u32::try_from(rounds).unwrap_or(u32::MAX))
}

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
fn print(name: &str, nanoseconds: f64) {
    println!("{name:<32} {:>9.2} µs", nanoseconds / 1e3);
}
