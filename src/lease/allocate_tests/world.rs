//! A small network to hold conversations in.

use super::*;
use crate::boot::MacAddress;

/// A machine, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client(pub(super) u8);

/// 10.0.0.0/24 with a pool from .10 to .19 and leases of 1,000 s.
pub(super) struct World {
    pub(super) now: Millis,
    pub(super) table: LeaseTable,
    pub(super) pools: Vec<Pool>,
    pub(super) taken: AddressSet,
    pub(super) reserved: BTreeMap<u8, Ipv4Addr>,
    pub(super) authoritative: bool,
    pub(super) authority: Authority,
    pub(super) lifetime: u64,
    /// Whose lease it is, where that is not the MAC's.
    pub(super) key: Option<LeaseKey>,
    /// What the last request changed.
    pub(super) last: Vec<Change>,
}

pub(super) fn at(n: u8) -> Ipv4Addr {
    [10, 0, 0, n].into()
}

impl Client {
    pub(super) fn mac(self) -> MacAddress {
        MacAddress::new([0x52, 0x54, 0, 0, 0, self.0])
    }

    pub(super) fn key(self) -> LeaseKey {
        LeaseKey::Mac(self.mac())
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            now: Millis::from_secs(1_800_000_000),
            table: LeaseTable::new(),
            pools: vec![Pool {
                start: at(10),
                end: at(19),
            }],
            taken: AddressSet::new(),
            reserved: BTreeMap::new(),
            authoritative: true,
            authority: Authority::Sole,
            lifetime: 1000,
            key: None,
            last: Vec::new(),
        }
    }

    pub(super) fn with_pool(mut self, start: u8, end: u8) -> Self {
        self.pools = vec![Pool {
            start: at(start),
            end: at(end),
        }];
        self
    }

    pub(super) fn reserve(mut self, client: Client, address: Ipv4Addr) -> Self {
        self.reserved.insert(client.0, address);
        self.taken.insert(address);
        self
    }

    pub(super) fn wait(&mut self, secs: u64) {
        self.now = self.now.plus_secs(secs);
    }

    pub(super) fn sweep(&mut self) {
        loop {
            let changes = self.table.expire(self.now, 100);
            if changes.is_empty() {
                return;
            }
            self.table.apply_all(&changes);
        }
    }

    /// Asks, and carries out what the answer changes.
    pub(super) fn ask(&mut self, client: Client, intent: Intent) -> Answer {
        let (answer, changes) = self.with_request(client, intent, |world, request| {
            allocate(world.now, &world.table, request)
        });
        self.table.apply_all(&changes);
        self.last = changes;
        answer
    }

    pub(super) fn probation(&self, client: Client, address: Ipv4Addr) -> Change {
        self.with_request(
            client,
            Intent::Offer { requested: None },
            |world, request| probation(world.now, request, address),
        )
    }

    fn with_request<T>(
        &self,
        client: Client,
        intent: Intent,
        then: impl FnOnce(&Self, &AllocateRequest<'_>) -> T,
    ) -> T {
        let key = self.key.clone().unwrap_or_else(|| client.key());
        let request = AllocateRequest {
            subnet: "default/lab",
            cidr: "10.0.0.0/24".parse().unwrap(),
            pools: &self.pools,
            reserved: self.reserved.get(&client.0).copied(),
            taken: &self.taken,
            key: &key,
            mac: Some(client.mac()),
            client_id: None,
            hostname: None,
            lifetime_secs: u32::try_from(self.lifetime).unwrap(),
            authoritative: self.authoritative,
            authority: self.authority,
            intent,
        };
        then(self, &request)
    }

    pub(super) fn discover(&mut self, client: Client) -> Answer {
        self.ask(client, Intent::Offer { requested: None })
    }

    pub(super) fn discover_for(&mut self, client: Client, address: Ipv4Addr) -> Answer {
        self.ask(
            client,
            Intent::Offer {
                requested: Some(address),
            },
        )
    }

    pub(super) fn offered(&mut self, client: Client) -> Ipv4Addr {
        let answer = self.discover(client);
        let Answer::Offer(address) = answer else {
            panic!("no offer but {answer:?}");
        };
        address
    }

    pub(super) fn select(&mut self, client: Client, address: Ipv4Addr) -> Answer {
        self.ask(
            client,
            Intent::Select {
                requested: Some(address),
            },
        )
    }

    /// DISCOVER, OFFER, REQUEST, ACK.
    pub(super) fn lend(&mut self, client: Client) -> Ipv4Addr {
        let address = self.offered(client);
        assert_eq!(self.select(client, address), Answer::Ack(address));
        address
    }

    pub(super) fn init_reboot(&mut self, client: Client, requested: Ipv4Addr) -> Answer {
        self.ask(client, Intent::InitReboot { requested })
    }

    pub(super) fn renew(&mut self, client: Client, address: Ipv4Addr) -> Answer {
        self.ask(client, Intent::Renew { address })
    }

    pub(super) fn in_pools(&self, address: Ipv4Addr) -> bool {
        self.pools
            .iter()
            .any(|pool| (pool.start..=pool.end).contains(&address))
    }

    pub(super) fn is_taken(&self, address: Ipv4Addr) -> bool {
        self.taken.contains(address)
    }

    /// One that is in the pool and of which nothing is known.
    pub(super) fn free_address(&self) -> Ipv4Addr {
        let pool = self.pools.first().unwrap();
        self.table
            .next_unused(pool.start, pool.end, &self.taken)
            .unwrap()
    }
}
