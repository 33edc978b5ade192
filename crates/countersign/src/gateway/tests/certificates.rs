//! Certificates are taken from their files as these change, without a signal; what cannot be taken changes nothing.

use std::os::unix::fs::PermissionsExt;

use super::agentless::{dial, world};
use super::*;
use crate::operator::CertificateProblem;

/// Puts another certificate in the place of `web.pem`, with its key.
fn replace(world: &World) {
    let other = other();
    write(world, "web.pem", &other.cert.pem());
    write(world, "web.key", &other.signing_key.serialize_pem());
}

fn other() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(["web.test".to_owned(), "new.test".to_owned()]).unwrap()
}

fn write(world: &World, name: &str, text: &str) {
    std::fs::write(world.file(name), text).unwrap();
}

fn read(world: &World, name: &str) -> String {
    std::fs::read_to_string(world.file(name)).unwrap()
}

fn problem(world: &World) -> Option<CertificateProblem> {
    world.handle.gateway.shown.load()[0].problem.clone()
}

/// The files cannot be used for this reason, and clients see the certificate of before.
async fn refused(world: &World, before: &str, reason: &str) {
    until(|| problem(world).is_some_and(|problem| problem.detail.contains(reason))).await;
    let now = read(world, "web.pem");
    write(world, "web.pem", before);
    let shown = dial(world, "web.test", "h2", false).await;
    assert!(shown.is_ok(), "the certificate of before is shown");
    write(world, "web.pem", &now);
}

async fn taken(world: &World) {
    let names = json!({ "names": ["web.test", "new.test"] });
    world.event("server-certificate-taken", names).await;
    until(|| problem(world).is_none()).await;
    dial(world, "new.test", "h2", false).await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_is_replaced_is_shown_to_the_next_client() {
    let world = world("", "").await;
    replace(&world);
    taken(&world).await;
    let shown = world.operate("GET", "/certificates", &json!({})).await;
    let certificate = &shown["certificates"][0];
    assert_eq!(certificate["names"], json!(["web.test", "new.test"]));
    assert_eq!(certificate["problem"], Value::Null);
}

#[tokio::test]
async fn a_certificate_that_is_half_written_leaves_the_one_before_until_it_is_whole() {
    let world = world("", "").await;
    let (before, other) = (read(&world, "web.pem"), other());
    let whole = other.cert.pem();
    write(&world, "web.pem", &whole[..whole.len() / 2]);
    refused(&world, &before, "web.pem").await;
    write(&world, "web.pem", &whole);
    refused(&world, &before, "web.pem").await;
    write(&world, "web.key", &other.signing_key.serialize_pem());
    taken(&world).await;
}

#[tokio::test]
async fn a_key_that_others_can_read_leaves_the_one_before_until_it_is_private() {
    let world = world("", "").await;
    let before = read(&world, "web.pem");
    replace(&world);
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(world.file("web.key"), permissions).unwrap();
    };
    mode(0o644);
    refused(&world, &before, "0644").await;
    let hint = problem(&world).unwrap().hint.unwrap();
    assert!(hint.starts_with("run `chmod 0600"), "{hint}");
    mode(0o600);
    taken(&world).await;
}

#[tokio::test]
async fn a_certificate_that_is_gone_leaves_the_one_before() {
    let world = world("", "").await;
    let before = read(&world, "web.pem");
    std::fs::remove_file(world.file("web.pem")).unwrap();
    until(|| problem(&world).is_some_and(|problem| problem.detail.contains("cannot read"))).await;
    write(&world, "web.pem", &before);
    until(|| problem(&world).is_none()).await;
    dial(&world, "web.test", "h2", false).await.unwrap();
}
