//! A web server that fails in the ways that a test chooses.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// A request: its path, its headers in small letters, how many for the path came before it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) before: u64,
}

/// How many came for each path.
type Counts = Mutex<HashMap<String, u64>>;

impl Asked {
    /// Where a range begins that it asks for.
    pub(crate) fn from(&self) -> Option<usize> {
        let range = self.headers.get("range")?.strip_prefix("bytes=")?;
        range.trim_end_matches('-').parse().ok()
    }
}

/// A web server in this process, on a port of the kernel's choice; it ends with the process.
pub(crate) fn serve(
    answer: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (answer, counts) = (Arc::new(answer), Arc::new(Counts::default()));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (answer, counts) = (Arc::clone(&answer), Arc::clone(&counts));
            std::thread::spawn(move || talk(stream, &*answer, &counts));
        }
    });
    Ok(address)
}

fn talk(mut stream: TcpStream, answer: &dyn Fn(&Asked, &mut TcpStream), counts: &Counts) {
    let Ok(read) = stream.try_clone() else {
        return;
    };
    let mut lines = BufReader::new(read).lines();
    let Some(Ok(first)) = lines.next() else {
        return;
    };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    for line in lines.map_while(Result::ok) {
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let before = {
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(path.clone()).or_default();
        *count += 1;
        *count - 1
    };
    let asked = Asked {
        path,
        headers,
        before,
    };
    answer(&asked, &mut stream);
}

/// Sends a head and a body, which may be shorter than the head says. The other end may have gone.
pub(crate) fn send(stream: &mut TcpStream, status: &str, headers: &str, len: usize, body: &[u8]) {
    let head =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {len}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
    let _ = stream.flush();
}

/// Sends the whole, or the rest that is asked for; `tag` names the version.
pub(crate) fn send_rest(stream: &mut TcpStream, asked: &Asked, tag: &str, all: &[u8]) {
    let tag = format!("ETag: \"{tag}\"\r\n");
    match asked.from().and_then(|from| Some((from, all.get(from..)?))) {
        None => send(stream, "200 OK", &tag, all.len(), all),
        Some((from, rest)) => {
            let last = all.len().saturating_sub(1);
            let range = format!("{tag}Content-Range: bytes {from}-{last}/{}\r\n", all.len());
            send(stream, "206 Partial", &range, rest.len(), rest);
        }
    }
}
