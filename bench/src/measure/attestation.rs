//! What attestation costs the gateway: a machine that comes in by its TPM, and one that quotes for each session.

use std::time::Duration;

use super::microseconds;
use crate::Outcome;
use crate::figures::Figures;
use crate::machine::{Site, Took, runtime};
use crate::peer::COUNTERSIGN;

/// Of the gateway's CPU, handshakes and the audit included.
const PER_CPU: &str = "for each second of the gateway's CPU";
/// By one agent, one after the other.
const WAITED: &str = "waiting for the gateway, µs median, the TPM's part left out";
/// Of swtpm: a quote of a TPM of hardware takes some hundred milliseconds.
const TPM: &str = "the software TPM's part, µs median";
/// Of a session, round by round.
const ADDED: &str = "a session with a quote ÷ one without";

const ENROLMENT: &str = "enrolment by TPM";
const PLAIN: &str = "session without attestation";
const QUOTED: &str = "session with a quote";

/// One round.
pub(crate) fn measure(site: &Site, figures: &mut Figures) -> Outcome<()> {
    let (runtime, mut tpm) = (runtime()?, site.tpm()?);
    let (mut svid, _) = runtime.block_on(site.enrol(&mut tpm))?;
    let mut batch = Batch { site, figures };
    batch.run(ENROLMENT, ENROLMENTS, || {
        let (fresh, took) = runtime.block_on(site.enrol(&mut tpm))?;
        svid = fresh;
        Ok(took)
    })?;
    let plain = batch.run(PLAIN, SESSIONS, || {
        runtime.block_on(site.session(site.plain(), None))
    })?;
    let quoted = batch.run(QUOTED, SESSIONS, || {
        runtime.block_on(site.session(&svid, Some(&mut tpm)))
    })?;
    for (row, ratio) in [
        ("waiting", quoted.waited / plain.waited),
        ("gateway CPU", quoted.cpu / plain.cpu),
    ] {
        figures.add(ADDED, row, COUNTERSIGN, ratio);
    }
    Ok(())
}

/// Measures one row.
struct Batch<'a> {
    site: &'a Site,
    figures: &'a mut Figures,
}

/// What one of a batch takes, in microseconds.
struct Each {
    waited: f64,
    cpu: f64,
}

impl Batch<'_> {
    fn run(
        &mut self,
        row: &str,
        count: u32,
        mut work: impl FnMut() -> Outcome<Took>,
    ) -> Outcome<Each> {
        let before = self.site.gateway.cpu()?;
        let took = (0..count).map(|_| work()).collect::<Outcome<Vec<_>>>()?;
        // The gateway's last steps follow the agent's.
        std::thread::sleep(SETTLE);
        let cpu = self.site.gateway.cpu()?.saturating_sub(before) / count;
        let median = |part: fn(&Took) -> Duration| {
            let times: Vec<_> = took.iter().map(part).collect();
            microseconds(&times).map_or(0.0, |(median, _)| median)
        };
        let (waited, tpm) = (median(|took| took.gateway), median(|took| took.tpm));
        let figures = &mut self.figures;
        figures.add(PER_CPU, row, COUNTERSIGN, 1.0 / cpu.as_secs_f64());
        figures.add(WAITED, row, COUNTERSIGN, waited);
        if tpm > 0.0 {
            figures.add(TPM, row, COUNTERSIGN, tpm);
        }
        let cpu = cpu.as_secs_f64() * 1e6;
        Ok(Each { waited, cpu })
    }
}

const ENROLMENTS: u32 = 200;
const SESSIONS: u32 = 400;
const SETTLE: Duration = Duration::from_millis(50);
