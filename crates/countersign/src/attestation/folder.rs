//! Folders that the configuration names: makers' certificates and collateral, each file read whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use countersign_attest::tpm::TpmRoots;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RootsError {
    /// The folder or a file in it cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// A file is not what it has to be.
    #[error("`{}` cannot be used: {reason}", path.display())]
    Unusable { path: PathBuf, reason: String },
    /// The folder holds none.
    #[error("`{}` holds no certificate of a TPM maker", path.display())]
    None { path: PathBuf },
}

impl RootsError {
    pub(super) fn unusable(path: &Path, reason: &impl ToString) -> Self {
        Self::Unusable {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// The certificates of TPM makers, each in a file of its own, DER or PEM.
pub(super) fn tpm_roots(folder: &Path) -> Result<TpmRoots, RootsError> {
    let mut roots = TpmRoots::default();
    for (path, content) in files(folder)? {
        let read = certificates(content).map_err(|reason| RootsError::unusable(&path, &reason))?;
        for der in read {
            let added = roots.add(&der);
            added.map_err(|error| RootsError::unusable(&path, &error))?;
        }
    }
    match roots.is_empty() {
        true => Err(RootsError::None {
            path: folder.to_owned(),
        }),
        false => Ok(roots),
    }
}

/// Every file in a folder, not those in folders below.
pub(super) fn files(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, RootsError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| RootsError::Unreadable { path, source }
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        if path.is_dir() {
            continue;
        }
        let content = fs::read(&path).map_err(unreadable(&path))?;
        files.push((path, content));
    }
    Ok(files)
}

fn certificates(content: Vec<u8>) -> Result<Vec<CertificateDer<'static>>, String> {
    if !content.trim_ascii_start().starts_with(b"-----BEGIN") {
        return Ok(vec![content.into()]);
    }
    let read = CertificateDer::pem_slice_iter(&content).collect::<Result<Vec<_>, _>>();
    read.map_err(|error| error.to_string())
}
