//! Runs each case of httpwg on a connection of its own, and says of each in one line what came of it.
//!
//!     countersign-test-httpwg ADDRESS HOST    HTTP/2 in the clear with prior knowledge, for `https://HOST/`
//!
//! A line is `SECTION :: CASE`, a tab, and `ok` or what was expected and what came.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use buffet::IntoHalves;
use httpwg::{Config, Conn};
use tokio::net::TcpStream;
use tokio::task::{JoinError, LocalSet};

// The cases by RFC and section; the macro takes the names that it writes from this file.
httpwg_macros::gen_catalog!(catalog);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(host)) = (arguments.next(), arguments.next()) else {
        return Err("ADDRESS and HOST are wanted".into());
    };
    let address: SocketAddr = address.parse()?;
    // A case that fails by a panic says so in its line.
    std::panic::set_hook(Box::new(|_| {}));
    buffet::bufpool::initialize_allocator_with_num_bufs(BUFFERS)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, run(address, host))
}

async fn run(address: SocketAddr, host: String) -> Result<(), Box<dyn Error>> {
    let config = Rc::new(Config {
        host,
        port: 443,
        tls: true,
        timeout: PATIENCE,
        ..Config::default()
    });
    let mut running = Vec::new();
    for (section, cases) in catalog::<TcpStream>().into_values().flatten() {
        for (name, case) in cases {
            let connection = Conn::new(Rc::clone(&config), TcpStream::connect(address).await?);
            let case = timed(case(connection));
            running.push((section, name, tokio::task::spawn_local(case)));
        }
    }
    for (section, name, case) in running {
        println!("{section} :: {name}\t{}", told(case.await));
    }
    Ok(())
}

/// The suite takes the end of its own patience for the end of the connection, which many of its cases are content with.
async fn timed(case: impl Future<Output = eyre::Result<()>>) -> eyre::Result<()> {
    let started = Instant::now();
    let outcome = case.await;
    match started.elapsed() < PATIENCE {
        true => outcome,
        false => outcome.and_then(|()| Err(eyre::eyre!("Timed out"))),
    }
}

fn told(outcome: Result<eyre::Result<()>, JoinError>) -> String {
    match outcome {
        Ok(Ok(())) => "ok".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => {
            let payload = panic.into_panic();
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|&text| text.to_owned()));
            text.unwrap_or_default().replace('\n', " ")
        }
    }
}

/// How long a case waits for a frame; those that are to fail so wait for all of it, side by side.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pages of 4 KiB, far more than the cases use at a time.
const BUFFERS: u32 = 16 << 10;
