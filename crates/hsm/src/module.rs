//! A PKCS#11 library, loaded and initialised once in this process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};

use crate::HsmError;

/// A loaded library. What it knows of sessions and log-ins is the whole process's, so each is loaded once, for good.
pub(crate) struct Module {
    path: PathBuf,
    /// Read by who calls into the library; written to start it again, which must not happen beside a call (PKCS#11 2.40,
    /// `C_Finalize`).
    context: RwLock<Pkcs11>,
    connected: AtomicUsize,
}

impl Module {
    /// Loads and initialises a library, unless that was done before.
    pub(crate) fn load(path: &Path) -> Result<Arc<Self>, HsmError> {
        let mut loaded = loaded();
        if let Some(module) = loaded.get(path) {
            return Ok(Arc::clone(module));
        }
        let failed = |error: Error| HsmError::Module {
            module: path.to_owned(),
            why: error.to_string(),
        };
        let context = Pkcs11::new(path).map_err(failed)?;
        initialise(&context).map_err(failed)?;
        let module = Arc::new(Self {
            path: path.to_owned(),
            context: RwLock::new(context),
            connected: AtomicUsize::new(0),
        });
        loaded.insert(path.to_owned(), Arc::clone(&module));
        Ok(module)
    }

    /// Where it was loaded from.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// To call into the library with; it is not started again meanwhile.
    pub(crate) fn calls(&self) -> RwLockReadGuard<'_, Pkcs11> {
        self.context.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the library again, since some find a token that came back only then; but not while another token of it is in
    /// use, whose sessions would end.
    pub(crate) fn start_again(&self) -> Result<(), Error> {
        let context = self.context.write().unwrap_or_else(PoisonError::into_inner);
        if self.connected.load(Ordering::SeqCst) > 0 {
            return Ok(());
        }
        match context.clone().finalize() {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiNotInitialized, _)) => {}
            Err(error) => return Err(error),
        }
        initialise(&context)
    }

    /// One more token of this library is in use for as long as this lives.
    pub(crate) fn in_use(self: &Arc<Self>) -> InUse {
        self.connected.fetch_add(1, Ordering::SeqCst);
        InUse(Arc::clone(self))
    }
}

/// A token of a library is in use.
pub(crate) struct InUse(Arc<Module>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Ordering::SeqCst);
    }
}

fn initialise(context: &Pkcs11) -> Result<(), Error> {
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        done => done,
    }
}

fn loaded() -> MutexGuard<'static, BTreeMap<PathBuf, Arc<Module>>> {
    static LOADED: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());
    LOADED.lock().unwrap_or_else(PoisonError::into_inner)
}
