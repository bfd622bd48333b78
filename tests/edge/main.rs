//! The edge: the chart is installed by real Helm on a real node, and the Pod wakes a real virtual machine.
//!
//! API server, controllers, scheduler, kubelet and containerd run in one network namespace with a bridge,
//! and so does the Pod, which has the node's network. `cargo test` skips it; `REVEILLE_EDGE=1 cargo test
//! --test edge` runs it. `REVEILLE_EDGE_IMAGE` names an archive of the image, instead of building it.
#![expect(
    clippy::print_stdout,
    reason = "a test runner of its own talks to a terminal"
)]

#[path = "../cluster/kubectl.rs"]
#[allow(dead_code, reason = "tests/cluster uses the rest")]
mod kubectl;
#[path = "../cluster/lan.rs"]
#[allow(dead_code, reason = "tests/cluster uses the rest")]
mod lan;
mod node;
#[path = "../cluster/plane.rs"]
#[allow(dead_code, reason = "tests/cluster uses the rest")]
mod plane;
#[path = "../cluster/programs.rs"]
#[allow(dead_code, reason = "tests/cluster uses the rest")]
mod programs;
mod site;
mod story;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "tests/cluster uses the rest")]
mod support;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::site::Site;
use crate::support::setup::CANNOT;
use crate::support::{ns, setup};

/// A room that is busy for longer is stuck, and is torn down.
const LIMIT: Duration = Duration::from_secs(1200);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let wanted = std::env::var_os("REVEILLE_EDGE").is_some_and(|value| value == "1");
    let outcome = match words.as_slice() {
        ["inside", folder] => inside(Path::new(folder)),
        _ if words.contains(&"--list") => Ok(ExitCode::SUCCESS),
        _ if !wanted => {
            println!("edge: skipped (set REVEILLE_EDGE=1; `make edge`)");
            Ok(ExitCode::SUCCESS)
        }
        _ => outside(),
    };
    outcome.unwrap_or_else(|error| {
        println!("edge: {error:#}");
        ExitCode::FAILURE
    })
}

/// Makes everything ready, and enters the room.
fn outside() -> Result<ExitCode> {
    if let Err(error) = ns::possible().and_then(|()| ns::taps_possible()) {
        println!("edge: {error:#}");
        return Ok(ExitCode::from(CANNOT));
    }
    let Some(ready) = setup::run("tests/edge/setup.sh")? else {
        return Ok(ExitCode::from(CANNOT));
    };
    let image = match std::env::var("REVEILLE_EDGE_IMAGE") {
        Ok(path) => format!("image={path}\n"),
        Err(_) => match setup::run("image/build.sh amd64")? {
            Some(built) => built,
            None => return Ok(ExitCode::from(CANNOT)),
        },
    };
    let ready = format!("{ready}{image}");
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("edge-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    fs::write(folder.join("ready"), ready)?;
    let place = folder.to_str().context("the target folder is not UTF-8")?;
    let child = ns::enter(&["inside", place])?.spawn().context("setpriv")?;
    let status = ns::watch(child, LIMIT);
    node::sweep();
    let status = status?;
    if status.success() && std::env::var_os("REVEILLE_EDGE_KEEP").is_none() {
        fs::remove_dir_all(&folder)?;
    } else {
        println!("edge: logs: {}", folder.display());
    }
    ensure!(status.success(), "{status}");
    Ok(ExitCode::SUCCESS)
}

/// Behind the walls: furnishes the room and tells the story.
fn inside(folder: &Path) -> Result<ExitCode> {
    let ready = fs::read_to_string(folder.join("ready"))?;
    let place = ns::own_run(folder)?;
    ns::run("ip link set lo up")?;
    let mut site = Site::open(&ready, &place)?;
    let told = story::tell(&mut site);
    if told.is_err() {
        site.explain();
    }
    told?;
    Ok(ExitCode::SUCCESS)
}
