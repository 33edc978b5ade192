//! Envoy, one worker on each side: TLS on both sides of a TCP proxy, and an HTTP proxy for handshakes and requests.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use countersign_channel::identity::Svid;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use super::{Peer, Ports, Way, free_port, loopback, wait_for_port};
use crate::certificates::{Certificates, Classical};
use crate::client::{Client, Kind, Known};
use crate::process::{Core, Process};
use crate::{Outcome, STREAMS, WEB};

/// Two Envoys between a program and the service.
pub(crate) struct Envoy {
    program: PathBuf,
    folder: PathBuf,
    server: Option<Process>,
    client: Process,
    entry: SocketAddr,
    bulk: SocketAddr,
    plain: SocketAddr,
    requests: SocketAddr,
    mutual: SocketAddr,
    root: CertificateDer<'static>,
    post_quantum: (CertificateDer<'static>, Arc<Svid>),
}

impl Envoy {
    /// Starts both.
    pub(crate) fn start(
        program: &Path,
        folder: &Path,
        certificates: &Certificates,
        service: Ports,
    ) -> Outcome<Self> {
        let [entry, bulk, plain] = free_ports()?;
        let [streams, wide, requests, mutual] = free_ports()?;
        let (p256, p384) = (&certificates.p256, &certificates.p384);
        let server = json!({"static_resources": {
            "listeners": [
                listener("streams", streams, &tcp("streams"), &classical(p256)),
                listener("wide", wide, &tcp("streams"), &aes_256(p384)),
                listener("requests", requests, &http("requests"), &classical(p256)),
                listener("mutual", mutual, &http("requests"), &post_quantum(certificates)),
            ],
            "clusters": [
                cluster("streams", service.streams, &Value::Null),
                cluster("requests", service.http, &Value::Null),
            ],
        }});
        let client = json!({"static_resources": {
            "listeners": [
                listener("streams", entry, &tcp("streams"), &Value::Null),
                listener("wide", bulk, &tcp("wide"), &Value::Null),
                listener("requests", plain, &tcp("requests"), &Value::Null),
            ],
            "clusters": [
                cluster("streams", streams, &verifying(p256, STREAMS, "X25519MLKEM768")),
                cluster("wide", wide, &verifying(p384, STREAMS, "P-384")),
                cluster("requests", requests, &verifying(p256, WEB, "X25519MLKEM768")),
            ],
        }});
        std::fs::write(folder.join("envoy-server.json"), server.to_string())?;
        std::fs::write(folder.join("envoy-client.json"), client.to_string())?;
        let client = launch(program, folder, "envoy-client", Core::Others)?;
        let own = &certificates.post_quantum;
        let mut envoy = Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            server: None,
            client,
            entry: loopback(entry),
            bulk: loopback(bulk),
            plain: loopback(plain),
            requests: loopback(requests),
            mutual: loopback(mutual),
            root: p256.root.clone(),
            post_quantum: (own.root.clone(), Arc::clone(&own.client)),
        };
        envoy.restart()?;
        wait_for_port(entry)?;
        Ok(envoy)
    }
}

impl Peer for Envoy {
    fn name(&self) -> &'static str {
        "Envoy"
    }

    fn gateway(&self) -> &Process {
        self.server.as_ref().expect("it is started")
    }

    fn ways(&self) -> Vec<Way<'_>> {
        let way = |name, bulk, requests| Way {
            name,
            entry: self.entry,
            bulk,
            requests,
            gateway: Some(self.gateway()),
            client: Some(&self.client),
        };
        vec![
            way(self.name(), self.entry, Some(self.plain)),
            way(ENVOY_AES_256, self.bulk, None),
        ]
    }

    fn tls(&self, kind: Kind) -> Outcome<Option<Client>> {
        let (root, own) = &self.post_quantum;
        let (address, known) = match kind {
            Kind::Classical | Kind::Hybrid => {
                let root = &self.root;
                (self.requests, Known { root, own: None })
            }
            Kind::MlDsa => {
                let own = Some(own.as_ref());
                (self.mutual, Known { root, own })
            }
        };
        Client::new(address, kind, &known).map(Some)
    }

    fn web(&self) -> SocketAddr {
        self.requests
    }

    fn restart(&mut self) -> Outcome<()> {
        self.server = None;
        self.server = Some(launch(
            &self.program,
            &self.folder,
            "envoy-server",
            Core::Gateway,
        )?);
        wait_for_port(self.requests.port())
    }
}

fn free_ports<const N: usize>() -> Outcome<[u16; N]> {
    let mut ports = [0; N];
    for port in &mut ports {
        *port = free_port()?;
    }
    Ok(ports)
}

fn launch(program: &Path, folder: &Path, name: &str, core: Core) -> Outcome<Process> {
    let mut command = Command::new(program);
    command.args([
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "error",
    ]);
    command
        .arg("--config-path")
        .arg(folder.join(format!("{name}.json")));
    Process::start(core, &mut command, &folder.join(format!("{name}.log")))
}

fn listener(name: &str, port: u16, filter: &Value, tls: &Value) -> Value {
    let mut chain = json!({"filters": [filter]});
    if !tls.is_null()
        && let Some(chain) = chain.as_object_mut()
    {
        let typed = typed(&format!("{TLS}.DownstreamTlsContext"), tls);
        chain.insert(
            "transport_socket".to_owned(),
            json!({"name": "tls", "typed_config": typed}),
        );
    }
    json!({"name": name, "address": address(port), "filter_chains": [chain]})
}

fn cluster(name: &str, port: u16, tls: &Value) -> Value {
    let endpoint = json!({"endpoint": {"address": address(port)}});
    let mut cluster = json!({
        "name": name, "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    });
    if !tls.is_null()
        && let Some(cluster) = cluster.as_object_mut()
    {
        let typed = typed(&format!("{TLS}.UpstreamTlsContext"), tls);
        cluster.insert(
            "transport_socket".to_owned(),
            json!({"name": "tls", "typed_config": typed}),
        );
    }
    cluster
}

fn tcp(cluster: &str) -> Value {
    let config = json!({"stat_prefix": cluster, "cluster": cluster});
    let typed = typed(&format!("{FILTERS}.tcp_proxy.v3.TcpProxy"), &config);
    json!({"name": "tcp", "typed_config": typed})
}

fn http(cluster: &str) -> Value {
    let router = typed(
        "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        &json!({}),
    );
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": cluster}});
    let config = json!({
        "stat_prefix": cluster,
        "stream_idle_timeout": "0s",
        "common_http_protocol_options": {"idle_timeout": "0s"},
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": router}],
    });
    let manager = format!("{FILTERS}.http_connection_manager.v3.HttpConnectionManager");
    json!({"name": "http", "typed_config": typed(&manager, &config)})
}

fn classical(certificates: &Classical) -> Value {
    json!({"common_tls_context": {
        "tls_params": params(&["X25519MLKEM768", "X25519"], &[]),
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificates": [certificate(&certificates.chain, &certificates.key)],
    }, "disable_stateless_session_resumption": true, "disable_stateful_session_resumption": true})
}

/// BoringSSL prefers AES-128-GCM, and lets itself be told otherwise by this policy alone, which wants P-384 throughout.
fn aes_256(certificates: &Classical) -> Value {
    json!({"common_tls_context": {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "compliance_policies": ["CNSA1_202603"]},
        "tls_certificates": [certificate(&certificates.chain, &certificates.key)],
    }, "disable_stateless_session_resumption": true, "disable_stateful_session_resumption": true})
}

fn post_quantum(certificates: &Certificates) -> Value {
    let own = &certificates.post_quantum;
    json!({"common_tls_context": {
        "tls_params": params(&["X25519MLKEM768"], &["mldsa65"]),
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificates": [certificate(&own.chain, &own.key)],
        "validation_context": {"trusted_ca": {"filename": own.ca}},
    }, "require_client_certificate": true,
       "disable_stateless_session_resumption": true, "disable_stateful_session_resumption": true})
}

fn verifying(certificates: &Classical, name: &str, group: &str) -> Value {
    let named = json!({"san_type": "DNS", "matcher": {"exact": name}});
    json!({"common_tls_context": {
        "tls_params": params(&[group], &[]),
        "validation_context": {
            "trusted_ca": {"filename": certificates.ca},
            "match_typed_subject_alt_names": [named],
        },
    }, "sni": name, "max_session_keys": 0})
}

fn params(groups: &[&str], schemes: &[&str]) -> Value {
    json!({
        "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3",
        "ecdh_curves": groups, "signature_algorithms": schemes,
    })
}

fn certificate(chain: &Path, key: &Path) -> Value {
    json!({"certificate_chain": {"filename": chain}, "private_key": {"filename": key}})
}

fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

fn typed(kind: &str, config: &Value) -> Value {
    let mut config = config.clone();
    if let Some(config) = config.as_object_mut() {
        config.insert("@type".to_owned(), kind.into());
    }
    config
}

/// The way through Envoy with the suite that Countersign uses: for bulk alone.
pub(crate) const ENVOY_AES_256: &str = "Envoy, AES-256-GCM";
const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters.network";
