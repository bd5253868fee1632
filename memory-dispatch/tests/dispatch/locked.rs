//! The adapter that makes a `Mutex<D>` a device.

use crate::board::{ATTRS, Board, Door};
use memory_core::{AccessRules, BusFault, Mmio, TxAttrs, Width};
use memory_dispatch::{AddressSpace, DmaQueue, Locked, LockedDevice, SpaceConfig, VcpuHandle, chain};
use std::sync::{Arc, Mutex, OnceLock, Weak, mpsc};
use std::time::Duration;

/// What a device does when it is written to, and what became of its DMA.
#[derive(Default)]
struct Scripted {
    script: Vec<(u64, Option<Vec<u8>>)>,
    done: Vec<(u64, Vec<u8>, Result<(), BusFault>)>,
    /// Asks again for ever.
    greedy: bool,
    asked: u64,
    smuggled: Option<Smuggled>,
    dispatched: Vec<Result<u64, BusFault>>,
}

/// Ways to dispatch that a device should not have.
struct Smuggled {
    space: Arc<AddressSpace>,
    vcpu: VcpuHandle,
}

impl LockedDevice for Scripted {
    fn read(&mut self, _: u64, width: Width, attrs: TxAttrs, _: &mut DmaQueue) -> Result<u64, BusFault> {
        if let Some(Smuggled { space, vcpu }) = &mut self.smuggled {
            let mut bytes = [7; 2];
            let read = space.read(0, &mut bytes, attrs).map(|()| 0);
            assert_eq!(bytes, [0; 2]);
            self.dispatched = vec![
                space.load(0, width, attrs),
                space.store(0, width, 1, attrs).map(|()| 0),
                read,
                space.write(0, &[1], attrs).map(|()| 0),
                space.compare_exchange(0, width, 0, 0, attrs).map(|_| 0),
                vcpu.load(0, width, attrs),
                vcpu.store(0, width, 1, attrs).map(|()| 0),
                vcpu.read(0, &mut bytes, attrs).map(|()| 0),
                vcpu.write(0, &[1], attrs).map(|()| 0),
                vcpu.compare_exchange(0, width, 0, 0, attrs).map(|_| 0),
                chain::enter(1, true).map(|_| 0),
            ];
        }
        Ok(self.done.len() as u64)
    }

    fn write(&mut self, _: u64, _: Width, _: u64, _: TxAttrs, dma: &mut DmaQueue) -> Result<(), BusFault> {
        for (tag, (address, data)) in self.script.drain(..).enumerate() {
            match data {
                Some(data) => dma.write(tag as u64, address, data),
                None => dma.read(tag as u64, address, 4),
            }
        }
        Ok(())
    }

    fn dma_done(&mut self, tag: u64, data: &[u8], result: Result<(), BusFault>, dma: &mut DmaQueue) {
        if self.greedy {
            self.asked += 1;
            dma.read(0, 0, 1);
        } else {
            self.done.push((tag, data.to_vec(), result));
        }
    }
}

fn board() -> Board {
    let mut board = Board::new(Door::Handle, SpaceConfig::default());
    board.ram(0, 0x1000, 0);
    board
}

fn put(board: &mut Board, device: Scripted) -> Arc<Locked<Scripted>> {
    let locked = Arc::new(Locked::new(device, &board.space, TxAttrs::requester(4)));
    let regs = board.memory().mmio("locked", 0x100u64, AccessRules::new(), Arc::downgrade(&locked));
    let regs = regs.build().unwrap();
    board.map(0x1000, regs);
    locked
}

#[test]
fn dma_is_carried_out_in_order_and_its_results_come_back() {
    let mut board = board();
    let script =
        vec![(0x10, None), (0x10, Some(vec![9, 8])), (0x10, None), (0x8000, None), (0x8000, Some(vec![1]))];
    let locked = put(&mut board, Scripted { script, ..Scripted::default() });
    board.store(0x1000, Width::W4, 1).unwrap();
    let done = locked.with(|device, _| std::mem::take(&mut device.done));
    let expected = [
        (0, vec![0x10, 0x11, 0x12, 0x13], Ok(())),
        (1, vec![], Ok(())),
        (2, vec![9, 8, 0x12, 0x13], Ok(())),
        (3, vec![0; 4], Err(BusFault::DECODE)),
        (4, vec![], Err(BusFault::DECODE)),
    ];
    assert_eq!(done, expected);
}

#[test]
fn dma_into_the_device_itself_is_refused() {
    let mut board = board();
    let locked = put(&mut board, Scripted { script: vec![(0x1000, None)], ..Scripted::default() });
    board.store(0x1000, Width::W4, 1).unwrap();
    let done = locked.with(|device, _| std::mem::take(&mut device.done));
    assert_eq!(done, [(0, vec![0; 4], Err(BusFault::ACCESS))]);
}

/// A device that, when the locked one's DMA reaches it, has another thread use the locked one.
#[derive(Default)]
struct Peer {
    locked: OnceLock<Weak<Locked<Scripted>>>,
    attrs: Mutex<Option<TxAttrs>>,
}

impl Mmio for Peer {
    fn read(&self, _: u64, _: Width, attrs: TxAttrs) -> Result<u64, BusFault> {
        *self.attrs.lock().unwrap() = Some(attrs);
        let locked = self.locked.get().and_then(Weak::upgrade).ok_or(BusFault::ERROR)?;
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || send.send(locked.with(|device, _| device.done.len())));
        // with the lock held nothing would ever come
        receive.recv_timeout(Duration::from_secs(60)).map(|_| 0x77).map_err(|_| BusFault::ERROR)
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        Ok(())
    }
}

#[test]
fn dma_runs_with_the_lock_given_up() {
    let mut board = board();
    let peer = Arc::<Peer>::default();
    let regs = board.memory().mmio("peer", 0x100u64, AccessRules::new(), peer.clone()).build().unwrap();
    board.map(0x2000, regs);
    let locked = put(&mut board, Scripted { script: vec![(0x2000, None)], ..Scripted::default() });
    peer.locked.set(Arc::downgrade(&locked)).unwrap();
    board.store(0x1000, Width::W4, 1).unwrap();
    let done = locked.with(|device, _| std::mem::take(&mut device.done));
    assert_eq!(done, [(0, vec![0x77, 0, 0, 0], Ok(()))]);
    assert_eq!(*peer.attrs.lock().unwrap(), Some(TxAttrs::requester(4)));
}

#[test]
fn dispatch_with_the_lock_held_is_refused_however_it_was_come_by() {
    let mut board = board();
    let locked = put(&mut board, Scripted::default());
    let smuggled = Smuggled { space: board.space.clone(), vcpu: board.space.handle(|| ()) };
    locked.with(|device, _| device.smuggled = Some(smuggled));
    board.load(0x1000, Width::W4).unwrap();
    let dispatched = locked.with(|device, _| std::mem::take(&mut device.dispatched));
    assert_eq!(dispatched, [Err(BusFault::ACCESS); 11]);
    assert_eq!(board.load(0, Width::W4), Ok(0x0302_0100), "nothing was written");
    locked.with(|device, _| device.smuggled = None);
}

#[test]
fn a_device_that_asks_for_ever_is_cut_off() {
    let mut board = board();
    let script = vec![(0, None)];
    let locked = put(&mut board, Scripted { script, greedy: true, ..Scripted::default() });
    board.store(0x1000, Width::W4, 1).unwrap();
    let asked = locked.with(|device, _| device.asked);
    assert!((1..100_000).contains(&asked), "{asked}");
    assert!(chain::is_idle());
}

#[test]
fn dma_without_a_space_is_a_decode_error() {
    let board = Board::new(Door::Space, SpaceConfig::default());
    let other = Board::new(Door::Space, SpaceConfig::default());
    let locked = Locked::new(Scripted::default(), &other.space, ATTRS);
    drop(other);
    locked.with(|_, dma| dma.read(3, 0, 2));
    let done = locked.with(|device, _| std::mem::take(&mut device.done));
    assert_eq!(done, [(3, vec![0; 2], Err(BusFault::DECODE))]);
    drop(board);
}
