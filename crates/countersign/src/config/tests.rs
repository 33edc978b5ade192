//! The shipped files, the documentation and the reload, held against the code that reads them.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::key::Described;
use super::reader::Document;
use super::{AgentConfig, ConfigError, GatewayConfig};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(file: &str) -> String {
    let path = root().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The example with every commented-out setting in force: `#key`, where prose is `# Prose`.
fn uncommented(example: &str) -> String {
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting.to_owned(),
        _ => line.to_owned(),
    };
    example
        .lines()
        .map(uncomment)
        .collect::<Vec<_>>()
        .join("\n")
}

fn gateway(text: &str) -> Result<GatewayConfig, ConfigError> {
    GatewayConfig::parse(Path::new("/etc/countersign/gateway.toml"), text.to_owned())
}

fn agent(text: &str) -> Result<AgentConfig, ConfigError> {
    AgentConfig::parse(Path::new("/etc/countersign/agent.toml"), text.to_owned())
}

#[test]
fn the_shipped_gateway_example_holds_with_and_without_its_comments() {
    let example = text("deploy/gateway.toml");
    assert_eq!(
        gateway(&example).unwrap().weakenings(),
        Vec::<String>::new()
    );
    let full = gateway(&uncommented(&example)).unwrap();
    assert_eq!(
        (
            full.listeners.len(),
            full.exceptions.len(),
            full.grants.len()
        ),
        (2, 1, 1)
    );
}

#[test]
fn the_shipped_agent_example_holds_with_and_without_its_comments() {
    let example = text("deploy/agent.toml");
    assert_eq!(agent(&example).unwrap().weakenings(), Vec::<String>::new());
    let full = agent(&uncommented(&example)).unwrap();
    assert_eq!(full.listeners.len(), 2);
}

/// A default that the example shows as a comment is the default that holds without it.
#[test]
fn the_defaults_in_the_shipped_examples_are_the_defaults() {
    let example = uncommented(&text("deploy/gateway.toml"));
    let (full, short) = (
        gateway(&example).unwrap(),
        gateway("trust_domain = \"example.org\"").unwrap(),
    );
    assert_eq!(
        (
            full.name,
            full.state_dir,
            full.root_key_file,
            full.store_file,
            full.operate
        ),
        (
            short.name,
            short.state_dir,
            short.root_key_file,
            short.store_file,
            short.operate
        )
    );
    assert_eq!(
        (full.telemetry, full.audit, full.log, full.limits),
        (short.telemetry, short.audit, short.log, short.limits)
    );
    assert_eq!(full.identity.version, short.identity.version);
    let example = uncommented(&text("deploy/agent.toml"));
    let (full, short) = (agent(&example).unwrap(), agent("").unwrap());
    assert_eq!(
        (
            full.state_dir,
            full.profile,
            full.rekey_interval,
            full.drain_time
        ),
        (
            short.state_dir,
            short.profile,
            short.rekey_interval,
            short.drain_time
        )
    );
    assert_eq!(
        (full.backoff, full.log, full.telemetry),
        (short.backoff, short.log, short.telemetry)
    );
}

#[test]
fn the_shortest_gateway_is_the_strongest() {
    let config = gateway("trust_domain = \"example.org\"").unwrap();
    assert_eq!(config.weakenings(), Vec::<String>::new());
    assert!(config.grants.is_empty() && config.services.is_empty() && config.exceptions.is_empty());
    assert!(
        config
            .listeners
            .iter()
            .all(|listener| listener.address.ip().is_loopback())
    );
    assert!(
        config
            .listeners
            .iter()
            .all(|listener| listener.classical_certificates.is_empty())
    );
}

/// As it is shipped, it names no file that an operator has yet to make.
#[test]
fn a_gateway_could_start_with_the_shipped_example() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/gateway.toml");
    assert_eq!(
        crate::gateway::check(&example).unwrap(),
        Vec::<String>::new()
    );
}

#[test]
fn every_weakening_is_told() {
    let weak = uncommented(&text("deploy/gateway.toml"))
        .replace("ca = \"/etc/countersign/internal-ca.pem\"", "")
        .replace("name = \"ledger.internal\"", "")
        .replace("certificate = \"/etc/countersign/to-ledger.pem\"", "")
        .replace("key = \"/etc/countersign/to-ledger.key\"", "")
        .replace("[service.tls]", "plaintext = true")
        .replace(
            "127.0.0.1:9464\"",
            "0.0.0.0:9464\"\ndangerous_bind_off_loopback = true",
        )
        .replace("[audit]", "[audit]\ndangerous_allow_unaudited = true")
        .replacen("stage = \"hybrid\"", "stage = \"strict\"", 1)
        .replace("agentless_in_strict = false", "agentless_in_strict = true");
    assert_eq!(
        gateway(&weak).unwrap().weakenings(),
        [
            "listener `canary` heeds exceptions for classical key exchange",
            "listener `main` serves agentless clients though it is strict",
            "service `ledger` is reached at `ledger.internal:8443` over plain TCP",
            "streams open although the audit file cannot be written",
            "telemetry is open to other machines at `0.0.0.0:9464`",
        ]
    );
    let weak = r#"
        listener = [{ service = "db", bind = "0.0.0.0:5432", dangerous_bind_off_loopback = true }]
        proxy = { http = "0.0.0.0:3128", socks = "[::]:1080", dangerous_bind_off_loopback = true }
        telemetry = { address = "0.0.0.0:9465", dangerous_bind_off_loopback = true }
    "#;
    assert_eq!(
        agent(weak).unwrap().weakenings(),
        [
            "service `db` is open to other machines at `0.0.0.0:5432`",
            "the HTTP proxy is open to other machines at `0.0.0.0:3128`",
            "the SOCKS proxy is open to other machines at `[::]:1080`",
            "telemetry is open to other machines at `0.0.0.0:9465`",
        ]
    );
}

#[test]
fn a_relative_path_starts_at_the_files_folder() {
    let config = gateway("trust_domain = \"example.org\"\nstate_dir = \"state\"").unwrap();
    assert_eq!(
        config.root_key_file,
        Path::new("/etc/countersign/state/root.key")
    );
    let config = agent("listener = [{ service = \"db\", bind = \"unix:db.sock\" }]").unwrap();
    assert_eq!(
        config.listeners[0].bind.place(),
        "unix:/etc/countersign/db.sock"
    );
}

#[test]
fn a_principal_is_an_agent_of_the_trust_domain_or_anonymous() {
    let domain = gateway("trust_domain = \"example.org\"")
        .unwrap()
        .trust_domain;
    let named = |text| super::principal_named(text, &domain);
    assert_eq!(
        named("laptop").as_deref(),
        Some("spiffe://example.org/agent/laptop")
    );
    let id = "spiffe://example.org/agent/laptop";
    assert_eq!(named(id).as_deref(), Some(id));
    assert_eq!(named("anonymous").as_deref(), Some("anonymous"));
    for wrong in [
        "",
        "a b",
        "spiffe://example.net/agent/laptop",
        "spiffe://example.org/gateway/main",
    ] {
        assert_eq!(named(wrong), None, "{wrong}");
    }
}

/// Reads a file that holds every key, and gives what was asked for.
fn described(file: &str) -> Vec<Described> {
    let text = text(&format!("crates/countersign/tests/config/{file}"));
    let document = Document::new(Path::new("every-key.toml"), text.clone());
    match file.contains("gateway") {
        true => drop(GatewayConfig::parse_document(&document).unwrap()),
        false => drop(AgentConfig::parse_document(&document).unwrap()),
    }
    let all: Table = text.parse().unwrap();
    let missing: Vec<_> = document
        .described()
        .into_iter()
        .filter(|key| value_at(&mut all.clone(), key).is_none())
        .map(|key| format!("{} {}", key.header, key.name))
        .collect();
    assert_eq!(missing, Vec::<String>::new(), "{file} lacks these keys");
    document.described()
}

/// The place of a key, in the first table of each array.
fn value_at<'t>(root: &'t mut Table, key: &Described) -> Option<&'t mut Value> {
    let mut table = root;
    for part in key
        .header
        .trim_matches(['[', ']'])
        .split('.')
        .filter(|part| !part.is_empty())
    {
        table = match table.get_mut(part)? {
            Value::Table(table) => table,
            Value::Array(tables) => tables.first_mut()?.as_table_mut()?,
            _ => return None,
        };
    }
    table.get_mut(key.name)
}

/// `plaintext` beside TLS is refused, and `proxy_protocol` beside HTTP, so they cannot be changed alone.
const NOT_CHANGED_ALONE: &[&str] = &["plaintext", "terms_of_service_agreed", "proxy_protocol"];

#[test]
fn a_reload_takes_exactly_the_keys_that_say_so() {
    let before: Table = text("crates/countersign/tests/config/every-gateway-key.toml")
        .parse()
        .unwrap();
    let changed = text("crates/countersign/tests/config/every-gateway-key-changed.toml");
    let mut changed: Table = changed.parse().unwrap();
    let running = gateway(&before.to_string()).unwrap();
    for key in described("every-gateway-key.toml") {
        if NOT_CHANGED_ALONE.contains(&key.name) {
            continue;
        }
        let name = format!("{} {}", key.header, key.name);
        let mut next = before.clone();
        let value = value_at(&mut changed, &key)
            .unwrap_or_else(|| panic!("{name}"))
            .clone();
        let place = value_at(&mut next, &key).unwrap();
        assert_ne!(*place, value, "{name} is the same in both files");
        *place = value;
        let next = gateway(&next.to_string()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(running.check_reload(&next).is_ok(), key.reloads, "{name}");
    }
}

#[test]
fn a_refused_reload_names_the_key() {
    let before = gateway("trust_domain = \"example.org\"").unwrap();
    let next = gateway("trust_domain = \"example.org\"\nname = \"second\"").unwrap();
    let error = before.check_reload(&next).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a reload cannot change `name`; the configuration before stays in force"
    );
    let hint = crate::report::Report::hint(&error);
    assert_eq!(
        hint.as_deref(),
        Some("put the key back, or restart the gateway")
    );
}

#[test]
fn the_documentation_lists_every_key() {
    let page = text("docs/configuration.md");
    let gateway = tables(&described("every-gateway-key.toml"), true);
    let agent = tables(&described("every-agent-key.toml"), false);
    let expected = with_section(&page, "gateway keys", &gateway);
    let expected = with_section(&expected, "agent keys", &agent);
    if std::env::var_os("COUNTERSIGN_BLESS").is_some() {
        std::fs::write(root().join("docs/configuration.md"), &expected).unwrap();
    } else {
        assert!(
            page == expected,
            "run this test with COUNTERSIGN_BLESS=1 to write docs/configuration.md"
        );
    }
}

fn with_section(page: &str, name: &str, section: &str) -> String {
    let begin = format!("<!-- {name} -->\n");
    let (before, rest) = page.split_once(&begin).unwrap();
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    format!("{before}{begin}{section}\n<!-- end -->{after}")
}

fn tables(keys: &[Described], reload: bool) -> String {
    let mut headers: Vec<&str> = Vec::new();
    for key in keys {
        if !headers.contains(&key.header.as_str()) {
            headers.push(&key.header);
        }
    }
    let table = |header: &&str| {
        let title = if header.is_empty() {
            "At the top".to_owned()
        } else {
            format!("`{header}`")
        };
        let columns = match reload {
            true => "| key | what it is | default | reload | meaning |\n|---|---|---|---|---|",
            false => "| key | what it is | default | meaning |\n|---|---|---|---|",
        };
        let rows = keys
            .iter()
            .filter(|key| key.header == **header)
            .map(|key| row(key, reload));
        format!("\n### {title}\n\n{columns}\n{}", rows.collect::<String>())
    };
    headers.iter().map(table).collect()
}

fn row(key: &Described, reload: bool) -> String {
    let Described {
        name,
        kind,
        default,
        about,
        ..
    } = key;
    let reloads = match (reload, key.reloads) {
        (false, _) => "",
        (true, true) => " yes |",
        (true, false) => " no |",
    };
    format!("| `{name}` | {kind} | {default} |{reloads} {about} |\n")
}
