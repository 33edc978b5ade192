//! Times what an agent does, as medians: `cargo run --release -p countersign-tpm --example timing [ADDRESS]`.
//!
//! Without an address it makes a software TPM of its own.

#![expect(clippy::print_stdout, reason = "its result is what it prints")]

use std::error::Error;
use std::time::{Duration, Instant};

use countersign_swtpm::Swtpm;
use countersign_tpm::{AttestationScheme, EndorsementKind, Hash, PcrSelection, Secret, Tpm};

fn main() -> Result<(), Box<dyn Error>> {
    let (address, _swtpm) = match std::env::args().nth(1) {
        Some(address) => (address, None),
        None => {
            let swtpm = Swtpm::manufacture()?.ok_or("swtpm is not installed")?;
            (swtpm.address(), Some(swtpm))
        }
    };
    let mut tpm = Tpm::open(&address.parse()?)?;
    let scheme = AttestationScheme::default();
    let key = tpm.create_attestation_key(scheme)?;
    let pcrs = PcrSelection::new(Hash::Sha256, 0..16);
    let sealed = tpm.seal(&Secret::new(vec![0; 32]), &PcrSelection::default())?;
    let kind = tpm
        .endorsement_certificates()?
        .first()
        .map(|found| found.kind);
    let kind = kind.unwrap_or(EndorsementKind::EccP256);

    time("read the clock", || tpm.time())?;
    time("read 16 PCRs", || tpm.pcrs(&pcrs))?;
    time("quote 16 PCRs", || tpm.quote(&key, b"nonce", &pcrs))?;
    time("unseal", || tpm.unseal(&sealed))?;
    time("read the certificates", || tpm.endorsement_certificates())?;
    time("the endorsement key", || tpm.endorsement_key(kind))?;
    time("make an attestation key", || {
        tpm.create_attestation_key(scheme)
    })?;
    Ok(())
}

fn time<T>(
    what: &str,
    mut work: impl FnMut() -> Result<T, countersign_tpm::Error>,
) -> Result<(), countersign_tpm::Error> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed());
    }
    times.sort();
    let median = times.get(ROUNDS / 2).copied().unwrap_or(Duration::ZERO);
    println!("{what:<26}{median:>10.1?}");
    Ok(())
}

const ROUNDS: usize = 51;
