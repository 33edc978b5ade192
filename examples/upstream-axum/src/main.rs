//! Runs the service.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use countersign_example_upstream_axum::app;
use countersign_example_upstream_axum::identity::Verifier;
use tokio::net::TcpListener;

/// An HTTP service behind Countersign that tells its callers their names, and answers nobody else.
#[derive(Parser)]
struct Options {
    /// The gateway's `identity.keys_file`.
    #[arg(long)]
    keys: PathBuf,
    /// `spiffe://` and the trust domain.
    #[arg(long)]
    issuer: String,
    /// This service's name at the gateway.
    #[arg(long)]
    service: String,
    /// The port on loopback.
    #[arg(long, default_value_t = 8080)]
    port: u16,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let options = Options::parse();
    let verifier = Verifier::new(options.keys, &options.issuer, &options.service)?;
    let verifier = Arc::new(verifier);
    let follows = Arc::clone(&verifier);
    tokio::spawn(async move { follows.follow_keys().await });
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    axum::serve(TcpListener::bind(address).await?, app(verifier)).await
}
