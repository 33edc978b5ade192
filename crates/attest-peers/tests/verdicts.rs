//! The other verifiers say the same of genuine evidence and of what was altered in what is signed.

// `cfg(test)` tells clippy that the helpers among them are tests too.
#[cfg(test)]
mod verdicts {
    use countersign_attest_peers::{Intel, Snp};
    use jiff::Timestamp;

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn sev_agrees_on_reports() {
        let Some(mut report) = Snp::genuine() else {
            return;
        };
        let now = at("2026-01-01T00:00:00Z");
        assert!(report.ours(now).is_some() && report.sev());
        // What is measured and what is signed; sev looks neither at reserved bytes nor at whether the certificate is of this firmware.
        for place in (0x50..0x180).chain(0x2a0..0x2a0 + 48).step_by(16) {
            report.report[place] ^= 1;
            let verdicts = (report.ours(now).is_some(), report.sev());
            assert_eq!(verdicts, (false, false), "byte {place}");
            report.report[place] ^= 1;
        }
    }

    #[test]
    fn dcap_qvl_on_its_own_primitives_agrees_on_quotes() {
        for (name, time, expected) in [
            ("tdx_quote", "2025-07-01T00:00:00Z", true),
            ("sgx_quote", "2025-07-01T00:00:00Z", true),
            ("tdx_quote_outdated", "2026-03-01T00:00:00Z", false),
        ] {
            let Some(mut quote) = Intel::genuine(name) else {
                return;
            };
            let now = at(time);
            let verdicts = (quote.ours(now).is_some(), quote.dcap_qvl(now));
            assert_eq!(verdicts, (expected, expected), "{name}");
            for place in (48..432).step_by(48) {
                quote.quote[place] ^= 1;
                let verdicts = (quote.ours(now).is_some(), quote.dcap_qvl(now));
                assert_eq!(verdicts, (false, false), "{name}, byte {place}");
                quote.quote[place] ^= 1;
            }
        }
    }
}
