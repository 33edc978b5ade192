//! Bytes to a TPM and back.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::address::Address;

/// The way to a TPM: one command out, one response back.
pub trait Transport {
    /// Sends one command and waits for its response.
    ///
    /// # Errors
    ///
    /// When the bytes do not go out, or no whole response comes back.
    fn transmit(&mut self, command: &[u8]) -> io::Result<Vec<u8>>;

    /// Waits before a command is sent again that the TPM was too busy for.
    fn pause(&mut self, duration: Duration) {
        thread::sleep(duration);
    }
}

/// A character device of the kernel: one write, one read.
#[derive(Debug)]
pub struct Device(File);

impl Device {
    /// Opens the device at `path`.
    ///
    /// # Errors
    ///
    /// When it is not there, may not be used, or is in use (`/dev/tpm0` has one user at a time).
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self(file))
    }
}

impl Transport for Device {
    fn transmit(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        // The kernel takes a command in one piece and gives back its response in one.
        let written = self.0.write(command)?;
        if written != command.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let mut response = vec![0; MAX_RESPONSE];
        let length = self.0.read(&mut response)?;
        response.truncate(length);
        Ok(response)
    }
}

/// A software TPM's data socket, on which commands and responses are raw.
#[derive(Debug)]
pub struct Simulator<S> {
    stream: S,
    /// A response was not read to its end: what comes next would be taken for another command's.
    is_out_of_step: bool,
}

impl Simulator<TcpStream> {
    /// Connects to `HOST:PORT`.
    ///
    /// # Errors
    ///
    /// When nothing listens there.
    pub fn tcp(authority: &str) -> io::Result<Self> {
        let address = authority
            .to_socket_addrs()?
            .next()
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl Simulator<UnixStream> {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    ///
    /// When nothing listens there.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self::over(stream))
    }
}

impl<S: Read + Write> Simulator<S> {
    fn over(stream: S) -> Self {
        Self {
            stream,
            is_out_of_step: false,
        }
    }

    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.stream.write_all(command)?;
        let mut response = vec![0; HEADER];
        self.stream.read_exact(&mut response)?;
        let length = announced(&response)?;
        response.resize(length, 0);
        let body = response.get_mut(HEADER..).unwrap_or_default();
        self.stream.read_exact(body)?;
        Ok(response)
    }
}

impl<S: Read + Write> Transport for Simulator<S> {
    fn transmit(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        if self.is_out_of_step {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let response = self.exchange(command);
        self.is_out_of_step = response.is_err();
        response
    }
}

/// Connects to the TPM at `address`.
pub(crate) fn connect(address: &Address) -> io::Result<Box<dyn Transport + Send>> {
    Ok(match address {
        Address::Device(path) => Box::new(Device::open(path)?),
        Address::SwtpmTcp(authority) => Box::new(Simulator::tcp(authority)?),
        Address::SwtpmUnix(path) => Box::new(Simulator::unix(path)?),
    })
}

/// The length of the whole response, which its header tells after the tag.
fn announced(header: &[u8]) -> io::Result<usize> {
    let length = header.get(2..).and_then(<[u8]>::first_chunk);
    let length = length.map(|bytes| u32::from_be_bytes(*bytes));
    length
        .and_then(|length| usize::try_from(length).ok())
        .filter(|length| (HEADER..=MAX_RESPONSE).contains(length))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a response of absurd length"))
}

/// A tag, a length, a response code (Part 1, section 18).
const HEADER: usize = 10;
/// What the kernel's driver and the PC Client profile take at most.
const MAX_RESPONSE: usize = 4096;
/// A software TPM makes an RSA key in seconds; it answers nobody while another program is connected.
const TIMEOUT: Duration = Duration::from_secs(60);
