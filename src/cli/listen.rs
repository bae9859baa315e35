//! `tallyfold stats --listen`: the numbers over HTTP, for Prometheus to fetch.
//!
//! One thread for each connection, of which there are few; each has its time to ask and its time to take the answer, so one who
//! says nothing, or takes nothing, keeps nobody else from either.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::exit::{self, Failure};
use super::exposition::CONTENT_TYPE;
use super::interrupt;
use super::output::say;

/// How long a client has to ask, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one that has its answer may take to hang up.
const FAREWELL: Duration = Duration::from_secs(1);
/// The most bytes of a request that are read.
const REQUEST: usize = 8 << 10;
/// The most header fields.
const FIELDS: usize = 64;
/// The most connections at a time.
const CONNECTIONS: u32 = 64;
/// How long to leave it when no connection can be taken: there are too many open files, most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// An answer, before it is known whether its body is wanted.
struct Answer {
    status: &'static str,
    fields: &'static str,
    kind: &'static str,
    body: String,
}

/// Listens, and answers with what `numbers` says until the command is ended.
pub(crate) fn run(
    address: &str,
    json: bool,
    numbers: impl FnMut() -> Result<String, Failure> + Send + 'static,
) -> Result<(), Failure> {
    let listener = TcpListener::bind(address).map_err(|e| cannot_listen(address, &e))?;
    let at = listener.local_addr()?;
    let url = format!("http://{at}/metrics");
    match json {
        true => {
            let _ = writeln!(io::stderr(), "{}", json!({"listening": at.to_string(), "url": url}));
        }
        false => say(format!("listening: {url}")),
    }
    if !at.ip().is_loopback() {
        say(format!("warning: {} is no loopback address: who can reach it can read the numbers", at.ip()));
    }
    let numbers = Arc::new(Mutex::new(numbers));
    let open = Arc::new(AtomicU32::new(0));
    loop {
        interrupt::check()?;
        let Ok((client, _)) = listener.accept() else {
            interrupt::sleep(PAUSE)?;
            continue;
        };
        let counted = Open::one_more(&open);
        if counted.is_none() {
            // Nothing of it is read, so it may not get to see this. It comes again.
            let _ = client.set_write_timeout(Some(FAREWELL));
            let _ = Answer::error("503 Service Unavailable", "too many connections").send(&client, true);
            continue;
        }
        let numbers = Arc::clone(&numbers);
        // Without a thread the connection is closed, and who asks will ask again.
        let _ = thread::Builder::new().spawn(move || {
            let _counted = counted;
            let mut ask = || (numbers.lock().unwrap_or_else(PoisonError::into_inner))();
            // A client that goes away is its own affair.
            let _ = serve(&client, &mut ask);
        });
    }
}

fn cannot_listen(address: &str, e: &io::Error) -> Failure {
    let what = match e.kind() {
        io::ErrorKind::AddrInUse => "the address is in use; choose another port, or 0 for any that is free",
        io::ErrorKind::PermissionDenied => "this user may not; choose a port above 1023",
        io::ErrorKind::AddrNotAvailable => "this host has no such address",
        io::ErrorKind::InvalidInput => "it must be an address and a port, such as 127.0.0.1:9469",
        _ => "it must be an address of this host and a port, such as 127.0.0.1:9469",
    };
    Failure::new(exit::FAILURE, format!("cannot listen at {address:?}: {e}: {what}"))
}

/// One of the open connections.
struct Open(Arc<AtomicU32>);

impl Open {
    fn one_more(open: &Arc<AtomicU32>) -> Option<Open> {
        let counted =
            open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < CONNECTIONS).then_some(n + 1));
        counted.is_ok().then(|| Open(Arc::clone(open)))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn serve(client: &TcpStream, ask: &mut dyn FnMut() -> Result<String, Failure>) -> io::Result<()> {
    let (answer, whole) = match request(client)? {
        Ok((method, path)) => {
            let path = path.split('?').next().unwrap_or_default();
            (answer(&method, path, ask), method != "HEAD")
        }
        Err(answer) => (answer, true),
    };
    client.set_write_timeout(Some(PATIENCE))?;
    answer.send(client, whole)?;
    // What was sent and not read would make the kernel take the answer back.
    client.shutdown(Shutdown::Write)?;
    let until = Instant::now() + FAREWELL;
    let mut rest = [0; 4096];
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        client.set_read_timeout(Some(left))?;
        if (&mut &*client).read(&mut rest)? == 0 {
            break;
        }
    }
    Ok(())
}

/// The method and the path that are asked for, or what to say of a request that is none.
fn request(client: &TcpStream) -> io::Result<Result<(String, String), Answer>> {
    let until = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Err(Answer::error("408 Request Timeout", "the request did not come to its end")));
        }
        client.set_read_timeout(Some(left))?;
        match (&mut &*client).read(&mut chunk) {
            Ok(0) => return Ok(Err(Answer::error("400 Bad Request", "the request did not come to its end"))),
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            Err(e) if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&e.kind()) => continue,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        }
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(&bytes) {
            Ok(httparse::Status::Complete(_)) => {
                let text = |part: Option<&str>| part.unwrap_or_default().to_string();
                return Ok(Ok((text(request.method), text(request.path))));
            }
            Ok(httparse::Status::Partial) if bytes.len() < REQUEST => {}
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Ok(Err(Answer::error(
                    "431 Request Header Fields Too Large",
                    "the request is too long",
                )));
            }
            Err(e) => return Ok(Err(Answer::error("400 Bad Request", &format!("no request: {e}")))),
        }
    }
}

fn answer(method: &str, path: &str, ask: &mut dyn FnMut() -> Result<String, Failure>) -> Answer {
    match (method, path) {
        ("GET" | "HEAD", "/metrics") => match ask() {
            Ok(body) => Answer { status: "200 OK", fields: "", kind: CONTENT_TYPE, body },
            Err(failure) => Answer::error("503 Service Unavailable", &failure.message),
        },
        ("GET" | "HEAD", "/") => Answer::text("200 OK", "tallyfold: the numbers are at /metrics"),
        ("GET" | "HEAD", _) => Answer::error("404 Not Found", "there is only /metrics"),
        _ => Answer {
            fields: "Allow: GET, HEAD\r\n",
            ..Answer::error("405 Method Not Allowed", "only GET and HEAD")
        },
    }
}

impl Answer {
    fn text(status: &'static str, line: &str) -> Answer {
        Answer { status, fields: "", kind: "text/plain; charset=utf-8", body: format!("{line}\n") }
    }

    fn error(status: &'static str, what: &str) -> Answer {
        Answer::text(status, &format!("tallyfold: {what}"))
    }

    /// `whole`: with the body.
    fn send(&self, client: &TcpStream, whole: bool) -> io::Result<()> {
        let Answer { status, fields, kind, body } = self;
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{fields}Connection: close\r\n\r\n",
            body.len()
        );
        let text = if whole { head + body } else { head };
        // Each write has its time, and so has all of it.
        let until = Instant::now() + PATIENCE;
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let written = (&mut &*client).write(rest)?;
            rest = rest.get(written..).unwrap_or_default();
            if Instant::now() >= until {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }
}
