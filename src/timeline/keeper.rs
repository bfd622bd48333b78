//! Keeps the timeline: takes events in, tells the story, counts. Shell.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::chronicle::{Chronicle, StoryLine};
use super::metrics::BootMetrics;
use super::story::tell;
use super::{
    Boot, BootEvent, Fact, Introductions, Known, MachineBoots, Note, Purpose, RecentLoaders,
    Timeline,
};
use crate::clock;
use crate::press::Spent;
use crate::snapshot::{Acquaintances as _, Identity, ObjectName, Reader, Snapshot};

/// How often boots are looked through for those that stalled.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Events that are folded in one go: a quarter of the queue.
const BATCH: usize = 2048;

/// How long events gather before the next are folded. Nobody waits for one, and
/// to wake for each is a tenth of what an answer costs when thousands boot.
const PAUSE: Duration = Duration::from_millis(2);

/// The boots, as other parts may read them; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Boots(Arc<Mutex<Timeline>>);

/// The boots of one machine.
#[derive(Clone, Debug, PartialEq)]
pub struct BootList {
    /// The machine's object, where one names it.
    pub name: Option<ObjectName>,
    /// What goes on.
    pub running: Vec<Boot>,
    /// What ended, the latest last.
    pub past: Vec<Boot>,
    /// The revision of the last change.
    pub revision: u64,
}

/// Keeps the timeline.
#[derive(Debug)]
pub struct Keeper {
    /// What the shells saw.
    pub events: mpsc::Receiver<BootEvent>,
    /// The boots.
    pub boots: Boots,
    /// Who is who.
    pub snapshots: Reader,
    /// Told when a machine got our loader.
    pub recent: RecentLoaders,
    /// Where the story is kept for those who ask.
    pub chronicle: Chronicle,
    /// What machines told of themselves lately.
    pub told: Introductions,
    /// Who booted once and is done.
    pub spent: Spent,
    /// What is counted.
    pub metrics: BootMetrics,
    /// Where boots are sent as traces.
    #[cfg(feature = "otlp")]
    pub traces: Option<crate::traces::Traces>,
}

// === impl Boots ===

impl Boots {
    /// Every boot that is known, as JSON: `{"boots": […]}`, the latest last.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let timeline = self.lock();
        serde_json::json!({ "boots": timeline.boots() })
    }

    /// The boots of the machine that an object names: those that go on, then
    /// those that ended, the latest last.
    #[must_use]
    pub fn of_machine(&self, name: &ObjectName) -> Option<BootList> {
        self.lock().of_machine(name).map(BootList::of)
    }

    /// Looks at the boots of the machine that an object names: for a moment,
    /// the timeline stands still meanwhile.
    #[must_use]
    pub fn with_machine<T>(
        &self,
        name: &ObjectName,
        look: impl FnOnce(MachineBoots<'_>) -> T,
    ) -> Option<T> {
        self.lock().of_machine(name).map(look)
    }

    /// The machines whose boots changed after `revision`, the one that changed
    /// longest ago first, `limit` at most. The next call asks from the last
    /// one's revision; 0 begins.
    #[must_use]
    pub fn changed_since(&self, revision: u64, limit: usize) -> Vec<BootList> {
        let timeline = self.lock();
        let changed = timeline.changed_since(revision).take(limit);
        changed.map(BootList::of).collect()
    }

    /// Counts changes up; see [`changed_since`](Self::changed_since).
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.lock().revision()
    }

    /// Lets `look` at the boots; nothing is folded in meanwhile.
    pub fn with<T>(&self, look: impl FnOnce(&Timeline) -> T) -> T {
        look(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Timeline> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl BootList ===

impl BootList {
    fn of(boots: MachineBoots<'_>) -> Self {
        Self {
            name: boots.name().cloned(),
            running: boots.running().to_vec(),
            past: boots.past().cloned().collect(),
            revision: boots.revision(),
        }
    }
}

// === impl Keeper ===

impl Keeper {
    /// Folds events until `token` is cancelled.
    ///
    /// # Errors
    /// None of its own; the supervisor wants the type.
    pub async fn run(
        this: Arc<tokio::sync::Mutex<Self>>,
        token: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut this = this.lock().await;
        let mut sweep = interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = token.cancelled() => break,
                _ = sweep.tick() => this.sweep(),
                event = this.events.recv() => {
                    let Some(event) = event else {
                        token.cancelled().await;
                        break;
                    };
                    this.take(&event);
                    this.take_queued();
                    sleep(PAUSE).await;
                }
            }
        }
        #[cfg(feature = "otlp")]
        if let Some(traces) = this.traces.clone() {
            tokio::task::spawn_blocking(move || traces.close()).await?;
        }
        Ok(())
    }

    /// Takes what waits; a bound, so that a sweep gets its turn.
    fn take_queued(&mut self) {
        for _ in 0..BATCH {
            match self.events.try_recv() {
                Ok(event) => self.take(&event),
                Err(_) => return,
            }
        }
    }

    fn take(&self, event: &BootEvent) {
        if let Fact::Transfer(transfer) = &event.fact
            && transfer.purpose == Purpose::Loader
            && transfer.complete
        {
            self.recent.insert(event.mac, event.at);
        }
        let known = self
            .snapshots
            .current()
            .map(|snapshot| self.known(&snapshot, event))
            .unwrap_or_default();
        let notes = self.boots.lock().observe(event, &known);
        self.tell(notes);
    }

    /// What `snapshot` says of the machine of `event`, where the event brings
    /// news of that: an address, or a script that was sent for it.
    fn known(&self, snapshot: &Snapshot, event: &BootEvent) -> Known {
        let (address, uuid) = match &event.fact {
            Fact::Offer { client, address }
            | Fact::Ack {
                client, address, ..
            } => (Some(*address), client.uuid),
            Fact::Transfer(transfer)
                if matches!(
                    transfer.purpose,
                    Purpose::Script | Purpose::Menu | Purpose::LocalScript
                ) =>
            {
                let timeline = self.boots.lock();
                let boot = timeline.running(event.mac);
                (boot.and_then(|boot| boot.address), None)
            }
            Fact::PhonedHome(call) => (Some(call.address), None),
            Fact::Released(release) => (Some(release.address), None),
            Fact::ChoseAnother { .. }
            | Fact::Transfer(_)
            | Fact::TransferStarted { .. }
            | Fact::Refused { .. } => (None, None),
        };
        let subnet = address.and_then(|address| snapshot.subnet_of(address));
        let Some(subnet) = subnet else {
            return Known::default();
        };
        let mut identity = Identity::from(event.mac);
        identity.uuid = uuid;
        identity.complete(self.told.identity(event.mac));
        let plan = snapshot.plan(subnet, &identity);
        match &event.fact {
            Fact::Transfer(transfer) => Known::of_script(snapshot, &plan, &transfer.name),
            Fact::Offer { .. }
            | Fact::Ack { .. }
            | Fact::ChoseAnother { .. }
            | Fact::TransferStarted { .. }
            | Fact::Refused { .. }
            | Fact::Released(_)
            | Fact::PhonedHome(_) => Known::of(&plan),
        }
    }

    /// Has a machine that boots once boot its disk from now on.
    fn spend(&self, boot: &Boot) {
        let (Some(namespace), Some(name)) = (&boot.namespace, &boot.machine) else {
            return;
        };
        if let Some(generation) = boot.consumed {
            let machine = ObjectName {
                namespace: namespace.to_string(),
                name: name.to_string(),
            };
            tokio::task::block_in_place(|| self.spent.note(&machine, generation));
        }
    }

    fn sweep(&self) {
        let notes = self.boots.lock().sweep(clock::now());
        self.tell(notes);
        tokio::task::block_in_place(|| self.spent.save());
        self.boots.with(|timeline| self.metrics.look(timeline));
    }

    fn tell(&self, notes: Vec<Note>) {
        for note in notes {
            if let Note::Started(boot) = &note {
                self.told.began(boot.id);
            }
            if let Note::Ended(boot) | Note::PhonedHome(boot) = &note {
                self.spend(boot);
            }
            self.metrics.count(&note);
            #[cfg(feature = "otlp")]
            if let Some(traces) = &self.traces {
                traces.note(&note);
            }
            if let Some((boot, text)) = tell(&note) {
                self.chronicle.note(StoryLine {
                    at: clock::now().0,
                    mac: boot.mac,
                    machine: boot.machine.as_ref().map(ToString::to_string),
                    boot: Some(boot.id.to_string()),
                    text,
                });
            }
        }
    }
}
