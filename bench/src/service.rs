//! The service behind every gateway, in a process of its own: what a connection's first byte asks for.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

use crate::Outcome;

/// Sends back what comes.
pub(crate) const ECHO: u8 = b'E';
/// Sends as many bytes as the next eight bytes say.
pub(crate) const DOWN: u8 = b'D';
/// Takes everything, and says one byte at the end.
pub(crate) const UP: u8 = b'U';
/// How much is handed to the system at once.
pub(crate) const BLOCK: usize = 256 << 10;

/// Serves streams and HTTP/1.1, each on its port, and says on standard output once it does.
pub(crate) fn serve(streams: u16, http: u16) -> Outcome<()> {
    let streams = TcpListener::bind((Ipv4Addr::LOCALHOST, streams))?;
    let http = TcpListener::bind((Ipv4Addr::LOCALHOST, http))?;
    thread::spawn(move || each(&http, requests));
    each(&streams, stream);
    Ok(())
}

fn each(listener: &TcpListener, serve: fn(TcpStream) -> io::Result<()>) {
    for connection in listener.incoming().flatten() {
        // A client may go at any time; that is no concern of the others.
        thread::spawn(move || {
            connection
                .set_nodelay(true)
                .and_then(|()| serve(connection))
        });
    }
}

fn stream(mut connection: TcpStream) -> io::Result<()> {
    let mut wish = [0];
    connection.read_exact(&mut wish)?;
    match wish {
        [ECHO] => echo(connection),
        [DOWN] => down(connection),
        [UP] => up(connection),
        _ => Ok(()),
    }
}

fn echo(mut connection: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match connection.read(&mut buffer)? {
            0 => return Ok(()),
            read => connection.write_all(buffer.get(..read).unwrap_or_default())?,
        }
    }
}

fn down(mut connection: TcpStream) -> io::Result<()> {
    let mut left = [0; 8];
    connection.read_exact(&mut left)?;
    let mut left = u64::from_be_bytes(left);
    let block = vec![7; BLOCK];
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        connection.write_all(block.get(..part).unwrap_or_default())?;
        left -= u64::try_from(part).unwrap_or(left);
    }
    connection.shutdown(Shutdown::Write)?;
    drain(&mut connection).map(|_| ())
}

fn up(mut connection: TcpStream) -> io::Result<()> {
    drain(&mut connection)?;
    connection.write_all(b".")
}

/// Reads to the end, and says how many bytes came.
pub(crate) fn drain(connection: &mut TcpStream) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    let mut total = 0;
    loop {
        match connection.read(&mut block)? {
            0 => return Ok(total),
            read => total += u64::try_from(read).unwrap_or_default(),
        }
    }
}

/// Answers GET requests on one connection, one after the other, with 128 bytes.
fn requests(mut connection: TcpStream) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 128\r\n\r\n{:128}",
        "hello"
    );
    let (mut buffer, mut filled) = ([0; 16 << 10], 0);
    loop {
        let room = buffer.get_mut(filled..).unwrap_or_default();
        match connection.read(room)? {
            0 => return Ok(()),
            read => filled += read,
        }
        let seen = buffer.get(..filled).unwrap_or_default();
        if seen.ends_with(b"\r\n\r\n") {
            let asked = seen
                .windows(4)
                .filter(|window| window == b"\r\n\r\n")
                .count();
            connection.write_all(answer.repeat(asked).as_bytes())?;
            filled = 0;
        }
    }
}
