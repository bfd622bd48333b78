//! Where log lines go: through a bounded queue to a thread of their own, so
//! that a terminal that was stopped or a disk that hangs holds up no machine.

use std::fs::File;
use std::io::{self, Write};
use std::iter;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use prometheus::{IntCounter, Opts};
use tracing_subscriber::fmt::MakeWriter;

use super::meter::{About, about};

/// Lines that may wait: some seconds of a storm of boots, in two megabytes.
/// What does not fit is dropped and counted.
const QUEUE: usize = 8192;
/// Bytes that are written at once, where so many lines wait.
const TOGETHER: usize = 64 << 10;
/// From one write to the next: what is said meanwhile is written together. To
/// wake this thread for each line costs those who speak more than the line does.
const MOMENT: Duration = Duration::from_millis(2);
/// For the last lines, at the end of the process.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is counted of lines that were lost.
pub(super) const DROPPED: About<'static> = about(
    "reveille_log_lines_dropped_total",
    "Log lines that were lost because nobody took them fast enough.",
    "lines",
);

/// Where log lines are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    #[default]
    Stderr,
    /// Standard output.
    Stdout,
    /// The end of a file; opened anew at SIGHUP.
    File(PathBuf),
}

/// The near end of the queue; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Output {
    queue: SyncSender<Message>,
    dropped: IntCounter,
}

/// The far end.
pub(super) struct Writer {
    target: LogTarget,
    file: Box<dyn Write + Send>,
    lines: Receiver<Message>,
    dropped: IntCounter,
}

#[derive(Debug)]
enum Message {
    /// One line, with its end.
    Line(Vec<u8>),
    /// Open the file anew.
    Reopen(SyncSender<io::Result<()>>),
    /// Say when everything before this is written.
    Flush(SyncSender<()>),
}

// === impl LogTarget ===

impl FromStr for LogTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "stderr" => Ok(Self::Stderr),
            "stdout" => Ok(Self::Stdout),
            "" => Err("write stderr, stdout or the path of a file".to_owned()),
            path => Ok(Self::File(PathBuf::from(path))),
        }
    }
}

impl LogTarget {
    /// Whether it is a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        match self {
            Self::Stderr => io::IsTerminal::is_terminal(&io::stderr()),
            Self::Stdout => io::IsTerminal::is_terminal(&io::stdout()),
            Self::File(_) => false,
        }
    }

    fn open(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(match self {
            Self::Stderr => Box::new(io::stderr()),
            Self::Stdout => Box::new(io::stdout()),
            Self::File(path) => Box::new(File::options().create(true).append(true).open(path)?),
        })
    }
}

// === impl Output ===

impl Output {
    /// A queue to `target`, and the writer that is to empty it.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub(super) fn open(target: LogTarget) -> io::Result<(Self, Writer)> {
        let (queue, lines) = sync_channel(QUEUE);
        // A counter's name and help are good: a test makes it.
        let dropped = IntCounter::with_opts(DROPPED.opts())
            .or_else(|_| IntCounter::with_opts(Opts::new("dropped", "dropped")))
            .map_err(io::Error::other)?;
        let writer = Writer {
            file: target.open()?,
            target,
            lines,
            dropped: dropped.clone(),
        };
        Ok((Self { queue, dropped }, writer))
    }

    /// What was lost.
    pub(super) const fn dropped(&self) -> &IntCounter {
        &self.dropped
    }

    /// Opens the file anew: it was moved away, and the next line is to be in a
    /// new one.
    ///
    /// # Errors
    /// The file cannot be opened (lines go to the old one), or the queue is
    /// full.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let (done, outcome) = sync_channel(1);
        let full = || io::Error::other("log lines wait; it is not opened anew");
        let sent = self.queue.try_send(Message::Reopen(done));
        sent.map_err(|_| full())?;
        outcome
            .recv_timeout(LAST_WORDS)
            .unwrap_or_else(|_| Err(full()))
    }

    /// Waits until what was said is written: for a second at most.
    pub(super) fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            // Who does not read by now does not want to.
            let _ = written.recv_timeout(LAST_WORDS);
        }
    }
}

impl Write for Output {
    /// The library gives a line at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Message::Line(line.to_vec())).is_err() {
            self.dropped.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

// === impl Writer ===

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts its thread, which has the rights that its maker has then.
    ///
    /// # Errors
    /// There can be no thread.
    pub(super) fn start(self) -> io::Result<()> {
        let thread = thread::Builder::new().name("log".to_owned());
        thread.spawn(move || write(self)).map(drop)
    }
}

/// Writes until there is nobody left who says anything.
fn write(writer: Writer) {
    let Writer {
        target,
        mut file,
        lines,
        dropped,
    } = writer;
    let mut told = 0;
    let mut text = Vec::new();
    while let Ok(first) = lines.recv() {
        for message in iter::once(first).chain(lines.try_iter()).take(QUEUE) {
            match message {
                Message::Line(line) => {
                    text.extend(line);
                    if text.len() >= TOGETHER {
                        put(&mut file, &mut text);
                    }
                }
                Message::Reopen(done) => {
                    put(&mut file, &mut text);
                    let outcome = target.open().map(|fresh| file = fresh);
                    let _ = done.send(outcome);
                }
                Message::Flush(done) => {
                    put(&mut file, &mut text);
                    let _ = file.flush();
                    let _ = done.send(());
                }
            }
        }
        put(&mut file, &mut text);
        let lost = dropped.get();
        if lost > told {
            tracing::warn!(
                lines = lost - told,
                "log lines were lost: nobody took them fast enough"
            );
            told = lost;
        }
        thread::sleep(MOMENT);
    }
}

/// Writes lines. There is no other place to say that this one fails.
fn put(file: &mut impl Write, text: &mut Vec<u8>) {
    let _ = file.write_all(text);
    text.clear();
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_was_moved_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("log"), folder.path().join("log.1"));
        let (mut output, writer) = Output::open(LogTarget::File(path.clone())).unwrap();
        // What is said before there is a thread is not lost.
        output.write_all(b"one\n").unwrap();
        writer.start().unwrap();
        Output::flush(&output);
        fs::rename(&path, &old).unwrap();
        output.write_all(b"two\n").unwrap();
        output.reopen().unwrap();
        output.write_all(b"three\n").unwrap();
        Output::flush(&output);
        assert_eq!(fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(output.reopen().is_err());
    }

    #[test]
    fn who_does_not_read_loses_lines_and_holds_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let reader = File::options().read(true).write(true).open(&path).unwrap();
        let (mut output, writer) = Output::open(LogTarget::File(path)).unwrap();
        writer.start().unwrap();
        for _ in 0..2 * QUEUE {
            output.write_all(&[b'x'; 100]).unwrap();
        }
        assert!(output.dropped().get() > 0);
        drop(reader);
    }
}
