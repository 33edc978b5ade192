//! Services that behave, and services that do not.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use super::free_port;

/// A service that sends back what it gets, and ends when the client does.
pub(crate) fn echo() -> u16 {
    serve(|mut stream| {
        let mut reader = stream.try_clone().expect("a second handle");
        // The client may be gone at any time.
        let _ = std::io::copy(&mut reader, &mut stream);
        let _ = stream.shutdown(Shutdown::Write);
    })
}

/// An HTTP service that shows each caller the value of one field of the request, and takes one request on a connection.
pub(crate) fn showing(field: &'static str) -> u16 {
    serve(move |mut stream| {
        let mut head = Vec::new();
        let mut byte = [0; 1];
        while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
            head.extend(byte);
        }
        let head = String::from_utf8_lossy(&head);
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        let shown = fields.find(|(name, _)| name.eq_ignore_ascii_case(field));
        let shown = shown.map_or("", |(_, value)| value);
        let length = shown.len();
        // The client may be gone at any time.
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{shown}"
        );
    })
}

/// A service that takes a connection and never says anything.
pub(crate) fn hanging() -> u16 {
    serve(|mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    })
}

/// A service that takes a connection and reads nothing of it.
pub(crate) fn deaf() -> u16 {
    serve(|_stream| {
        loop {
            thread::park();
        }
    })
}

/// An HTTP service whose answers are as long as anybody takes them.
pub(crate) fn endless() -> u16 {
    serve(|mut stream| {
        let mut head = [0; 4096];
        let _ = stream.read(&mut head);
        let start = b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n";
        let _ = stream.write_all(start);
        while stream.write_all(&[b'x'; 16 << 10]).is_ok() {}
    })
}

/// A service that sends `count` bytes and then resets the connection.
pub(crate) fn resetting_after(count: usize) -> u16 {
    serve(move |mut stream| {
        let mut request = [0; 1];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(&vec![b'x'; count]);
        // The bytes are on their way before the reset: the other side has read them all and says so.
        let _ = stream.read(&mut request);
        reset(stream);
    })
}

/// A service that answers the first byte with one, and tells of each stream how many bytes came before its end, or with
/// which error it failed.
pub(crate) fn telling_how_streams_end() -> (u16, Receiver<Result<usize, ErrorKind>>) {
    let (told, ends) = std::sync::mpsc::channel();
    let port = serve(move |mut stream| {
        let mut bytes = Vec::new();
        let mut first = [0; 1];
        let end = stream
            .read_exact(&mut first)
            .and_then(|()| stream.write_all(&first))
            .and_then(|()| stream.read_to_end(&mut bytes))
            .map(|count| count + 1);
        // The test may have seen enough.
        let _ = told.send(end.map_err(|error| error.kind()));
    });
    (port, ends)
}

/// Ends a connection with a reset.
pub(crate) fn reset(stream: TcpStream) {
    // Dropped with no time to linger, a socket is reset (`socket(7)`).
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

/// A port that refuses every connection.
pub(crate) fn refusing() -> u16 {
    free_port()
}

/// Serves each connection on a thread of its own, as long as the test runs.
fn serve(service: impl Fn(TcpStream) + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let service = service.clone();
            thread::spawn(move || service(stream));
        }
    });
    port
}
