//! The certificates of TPM makers, as they publish them.

use countersign_attest::tpm::TpmRoots;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::tools::{entries, read, vectors};

/// Files that are no certificate of an authority, and what they are refused with.
const ODD: [(&str, &str); 0] = [];

#[test]
fn each_file_of_the_makers_can_be_used_but_those_named() {
    let Some(folder) = vectors() else { return };
    let mut roots = TpmRoots::default();
    for path in entries(&folder.join("tpm-vendor-roots")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "README.md" {
            continue;
        }
        let content = read(&path);
        let der = match content.starts_with(b"-----BEGIN") {
            true => CertificateDer::from_pem_slice(&content)
                .expect(&name)
                .to_vec(),
            false => content,
        };
        let found = roots.add(&der).map_err(|error| error.to_string());
        match ODD.iter().find(|(odd, _)| *odd == name) {
            None => assert_eq!(found, Ok(()), "{name}"),
            Some((_, why)) => assert!(found.unwrap_err().contains(why), "{name}"),
        }
    }
    assert!(!roots.is_empty());
}

#[test]
fn what_is_no_certificate_is_no_root() {
    assert!(TpmRoots::default().add(b"no certificate").is_err());
}
