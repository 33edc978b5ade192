//! What stands for a guest's `/dev/sev-guest`: a port on loopback that takes 64 bytes and answers with a report over them.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tempfile::TempDir;

use crate::{Guest, Processor, certificate_chain};

/// The device of one guest. Its thread ends with the process.
#[derive(Debug)]
pub struct Device {
    port: u16,
    guest: Arc<Mutex<Guest>>,
    folder: TempDir,
}

impl Device {
    /// Switches a guest on, on a processor of its own.
    ///
    /// # Errors
    ///
    /// There is no port or no folder.
    pub fn start() -> io::Result<Self> {
        let processor = Processor::milan();
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join(CERTIFICATE), processor.certificate())?;
        fs::write(folder.path().join(CHAIN), certificate_chain())?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let device = Self {
            port: listener.local_addr()?.port(),
            guest: Arc::new(Mutex::new(Guest {
                measurement: 0x11,
                debug: false,
            })),
            folder,
        };
        let guest = Arc::clone(&device.guest);
        thread::spawn(move || serve(&listener, &processor, &guest));
        Ok(device)
    }

    /// Starts the guest anew, as another one.
    pub fn restart(&self, guest: Guest) {
        *self.guest.lock().unwrap_or_else(PoisonError::into_inner) = guest;
    }

    /// The program, and its arguments, that hands the device 64 bytes from standard input and prints the report.
    pub fn command(&self) -> [String; 3] {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{}; head -c 64 >&3; cat <&3",
            self.port
        );
        ["bash".to_owned(), "-c".to_owned(), script]
    }

    /// The certificate of the processor's key, DER.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join(CERTIFICATE)
    }

    /// The certificates above it, PEM.
    pub fn certificate_chain(&self) -> PathBuf {
        self.folder.path().join(CHAIN)
    }
}

/// Whoever goes before it is answered is left to itself.
fn serve(listener: &TcpListener, processor: &Processor, guest: &Mutex<Guest>) {
    for mut caller in listener.incoming().flatten() {
        let mut asked = [0; 64];
        if caller.read_exact(&mut asked).is_ok() {
            let guest = *guest.lock().unwrap_or_else(PoisonError::into_inner);
            let _went_away = caller.write_all(&processor.sign(&guest.report(&asked)));
        }
    }
}

const CERTIFICATE: &str = "vcek.der";
const CHAIN: &str = "cert_chain.pem";
