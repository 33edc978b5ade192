//! A key of identity tokens in a PKCS#11 token, and the next one: published, signing, alone.

use base64ct::{Base64UrlUnpadded, Encoding};
use rustix::process::Signal;

use super::{ask, on, start};
use crate::support::hsm::Hsm;
use crate::support::{Agent, Gateway, wait_until};

/// As docs/hsm.md has it.
#[test]
fn the_next_key_is_published_before_it_signs_and_the_one_before_after() {
    let Some(hsm) = Hsm::soft() else {
        return;
    };
    let [before, next] = ["identity", "next"].map(|key| {
        let public = hsm.generate(key, "ed25519");
        (hsm.uri(key), public.trim_end().to_owned())
    });
    let (gateway, agent) = start(on(&hsm, &["identity"]));
    let first = signed_with(&agent, "wiki");
    for uris in [[&before, &next], [&next, &before]] {
        name(&gateway, &format!("[\"{}\", \"{}\"]", uris[0].0, uris[1].0));
        let wanted = uris.map(|(_, public)| public.clone());
        wait_until("both keys are published", || {
            (published(&gateway) == wanted).then_some(())
        });
    }
    let second = wait_until("the next key signs", || {
        Some(signed_with(&agent, "shop")).filter(|kid| *kid != first)
    });
    let keys = gateway.ask(&["identity", "keys"]);
    assert_eq!(keys["keys"][0]["kid"], second);
    assert_eq!(keys["keys"][1]["kid"], first);
    name(&gateway, &format!("\"{}\"", next.0));
    wait_until("the one before is gone", || {
        (published(&gateway) == [next.1.clone()]).then_some(())
    });
}

#[test]
fn a_reload_takes_no_key_that_is_not_there_and_opens_no_other_token() {
    let Some(hsm) = Hsm::soft() else {
        return;
    };
    let public = hsm.generate("identity", "ed25519");
    let (gateway, agent) = start(on(&hsm, &["identity"]));
    let elsewhere = hsm.uri("identity").replace("token=gateway", "token=other");
    for (uri, told) in [
        (hsm.uri("absent"), "has no private key `absent`"),
        (elsewhere, "is not in use, and only a start opens one"),
    ] {
        name(&gateway, &format!("\"{uri}\""));
        wait_until("the configuration is refused", || {
            let refused = gateway.audited("configuration-refused");
            let last = refused.last()?.to_string();
            last.contains(told).then_some(())
        });
    }
    assert_eq!(published(&gateway), [public.trim_end()]);
    assert_eq!(ask(&agent, "wiki").0, 200);
}

#[test]
fn a_reload_that_changes_no_key_asks_no_token() {
    let Some(hsm) = Hsm::soft() else {
        return;
    };
    hsm.generate("identity", "ed25519");
    let (gateway, _agent) = start(on(&hsm, &["identity"]));
    hsm.take_away();
    let loaded = gateway.audited("configuration-loaded").len();
    gateway.signal(Signal::HUP);
    wait_until("the configuration is loaded", || {
        (gateway.audited("configuration-loaded").len() > loaded).then_some(())
    });
}

/// Has the configuration name keys, and reloads it.
fn name(gateway: &Gateway, uris: &str) {
    let config = std::fs::read_to_string(gateway.config()).expect("our own file");
    let lines = config
        .lines()
        .map(|line| match line.starts_with("identity = ") {
            true => format!("identity = {uris}\n"),
            false => format!("{line}\n"),
        });
    std::fs::write(gateway.config(), lines.collect::<String>()).expect("our own file");
    gateway.signal(Signal::HUP);
}

fn published(gateway: &Gateway) -> Vec<String> {
    let keys = gateway.ask(&["identity", "keys"]);
    let keys = keys["keys"].as_array().expect("a list");
    let paserk = keys.iter().filter_map(|key| key["paserk"].as_str());
    paserk.map(str::to_owned).collect()
}

/// The id of the key that signed what a service was told.
#[track_caller]
fn signed_with(agent: &Agent, service: &str) -> String {
    let (status, token) = ask(agent, service);
    assert_eq!(status, 200, "{token}");
    let footer = token.trim().rsplit('.').next().expect("a footer");
    let footer = Base64UrlUnpadded::decode_vec(footer).expect("base64url");
    let footer: serde_json::Value = serde_json::from_slice(&footer).expect("JSON");
    footer["kid"].as_str().expect("a key id").to_owned()
}
