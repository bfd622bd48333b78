//! The program is told to end while machines load.

use std::net::{TcpListener, UdpSocket};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use super::site::{INITRD, KERNEL, Site, until};
use super::slow::Slow;

/// One signal: transfers end whole, nothing new begins, the exit is good, ports are free. Two: at once.
pub(super) fn sigterm(site: &mut Site) -> Result<Vec<String>> {
    let mut server = site.serve()?;
    let (http, tftp) = (Slow::http(KERNEL)?, Slow::tftp(INITRD)?);
    server.signal(Signal::SIGTERM)?;
    site.logged("draining")?;
    until("the end of the HTTP door", || {
        Ok(TcpListener::bind("0.0.0.0:80").ok().map(drop))
    })?;
    ensure!(
        server.ended()?.is_none(),
        "it ended while transfers were under way"
    );
    http.finish_whole()?;
    tftp.finish_whole()?;
    let status = until("the end after the last transfer", || server.ended())?;
    ensure!(status.success(), "after SIGTERM: {status}");
    let _ports = (
        TcpListener::bind("0.0.0.0:9167")?,
        UdpSocket::bind("0.0.0.0:67")?,
        UdpSocket::bind("0.0.0.0:69")?,
    );
    drop(_ports);

    let mut server = site.serve()?;
    let cut = Slow::http(KERNEL)?;
    server.signal(Signal::SIGTERM)?;
    site.logged_again(1, "draining")?;
    ensure!(server.ended()?.is_none(), "the first signal did not drain");
    server.signal(Signal::SIGTERM)?;
    let status = until("the end after the second signal", || server.ended())?;
    ensure!(status.code() == Some(1), "after two signals: {status}");
    site.logged("second signal")?;
    let loaded = cut.finish();
    ensure!(
        loaded.is_err() || loaded.is_ok_and(|bytes| super::site::is_whole(KERNEL, &bytes).is_err()),
        "the second signal waited for a transfer"
    );
    Ok(vec!["one signal drains, two end at once".to_owned()])
}
