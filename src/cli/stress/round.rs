//! One run: the processes work, some are killed, and then what is there is held against what was acknowledged.

use std::time::{Duration, Instant};

use tallyfold::{Cohort, Fold, Severity, Store};

use super::board::{Board, Lane, Phase};
use super::check::{self, Check, Outcome};
use super::crew::{Crew, Ended};
use super::histogram::Latencies;
use super::plan::{Kind, Load, Plan};
use super::plant::{self, Plant};
use super::scratch::Scratch;
use super::target::{Lock, Target};
use super::worker::{Role, Task};
use crate::cli::exit::{self, Failure};
use crate::cli::interrupt;
use crate::cli::progress::Progress;
use crate::cli::random::Random;

/// How often the parent looks.
const GLANCE: Duration = Duration::from_millis(1);
/// How long all processes may take to start.
const TO_START: Duration = Duration::from_secs(60);
/// How long one may take to end once there is nothing to wait for. A machine may be busy, and a disk slow.
const TO_END: Duration = Duration::from_secs(20);
/// How long a writer waits for a lock unless it is told.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// So many kills are planned for each writer.
const KILLS_EACH: u64 = 4;
/// One kill in so many is of a reader or the compactor.
const KILLS_OF_OTHERS: usize = 8;
/// How often a long loop asks whether it is to end.
const BETWEEN_CHECKS: u64 = 4096;

/// What all runs of a command share.
pub(super) struct Terms<'a> {
    pub(super) plan: Plan,
    pub(super) readers: u64,
    pub(super) kill: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) time: Duration,
    pub(super) plant: Option<Plant>,
    pub(super) scratch: &'a Scratch,
}

/// What a run has come to.
pub(super) struct Round {
    pub(super) lock: Lock,
    pub(super) file_system: String,
    pub(super) outcome: Outcome,
    /// What readers found wrong.
    pub(super) stale: u64,
    pub(super) views: u64,
    pub(super) compactions: u64,
    pub(super) lock_timeouts: u64,
    pub(super) durability_unknown: u64,
    pub(super) kills: u64,
    /// Processes that did not end when their time was over.
    pub(super) hung: u64,
    /// Acts that were acknowledged, of those that were planned.
    pub(super) acts: u64,
    pub(super) seconds: f64,
    /// For each kind of act.
    pub(super) latencies: [Latencies; 3],
}

impl Round {
    /// Whether what must not be lost is all there. Without a lock nobody promises anything.
    pub(super) fn is_clean(&self) -> bool {
        self.lock == Lock::None || (self.outcome.is_clean() && self.stale == 0)
    }
}

pub(super) fn run(terms: &Terms<'_>, lock: Lock) -> Result<Round, Failure> {
    let Terms { plan, scratch, .. } = *terms;
    let name = scratch.cohort(lock);
    let cohort = scratch.store.create(&name, lock.settings(&plan))?;
    let file_system = cohort.stats()?.file_system;
    // One more than are done, for one that is planted.
    let board = Board::make(&scratch.board(lock), plan.lanes, plan.acts + 1)?;
    let target = Target::open(scratch.store.path(), &name, lock, terms.timeout, plan.durable)?;
    target.begin()?;
    let task = Task { role: Role::Compact, plan, lock, cohort: name, timeout: terms.timeout };
    let mut work = Work {
        terms,
        board: &board,
        crew: Crew::new(task, scratch.store.path(), &scratch.board(lock)),
        lives: vec![vec![0]; plan.lanes as usize],
        faults: Vec::new(),
        damage: Vec::new(),
        told: Vec::new(),
        kills: 0,
        hung: 0,
    };
    let seconds = work.all(lock)?;
    let Work { lives, faults, damage, told, kills, hung, .. } = work;

    let acts = board.lanes().map(Lane::acknowledged).sum();
    let mut outcome = match &target {
        Target::Cohort(_) => {
            // As another process would open it, with the patience of its settings.
            let cohort = Store::open_existing(scratch.store.path())?.cohort(cohort.name())?;
            if let Some(plant) = terms.plant {
                plant::plant(plant, &cohort, &board, &plan)?;
            }
            examine(&cohort, &plan, &board, &lives)?
        }
        Target::File { .. } => check::document(&plan, &board, &lives, target.document()),
    };
    damage.into_iter().for_each(|what| outcome.damage(what));
    let stale = faults.len() as u64;
    outcome.faults.extend(faults.into_iter().chain(told));
    let latencies = Kind::ALL.map(|kind| {
        let mut sum = Latencies::new();
        board.lanes().for_each(|lane| sum.add_numbers(lane.histogram(kind)));
        sum
    });
    let lock_timeouts = board.lanes().map(Lane::timeouts).sum();
    let durability_unknown = board.lanes().map(Lane::unknown).sum();
    let (views, compactions) = (board.views(), board.compactions());
    Ok(Round {
        lock,
        file_system,
        outcome,
        stale,
        views,
        compactions,
        lock_timeouts,
        durability_unknown,
        kills,
        hung,
        acts,
        seconds,
        latencies,
    })
}

/// The processes at work.
struct Work<'a> {
    terms: &'a Terms<'a>,
    board: &'a Board,
    crew: Crew,
    /// For each lane the acts with which its processes began.
    lives: Vec<Vec<u64>>,
    /// What readers found.
    faults: Vec<String>,
    /// What others met.
    damage: Vec<String>,
    /// What else is worth a word.
    told: Vec<String>,
    kills: u64,
    hung: u64,
}

impl Work<'_> {
    /// Lets all work until the writers have done what there is to do, or their time is over. Returns how long they took.
    fn all(&mut self, lock: Lock) -> Result<f64, Failure> {
        let plan = self.terms.plan;
        for lane in 0..plan.lanes {
            self.crew.start(Role::Write { lane, life: 0, from: 0 })?;
        }
        if lock.class().is_some() {
            for reader in 0..self.terms.readers {
                self.crew.start(Role::Read { attached: reader % 2 == 0 })?;
            }
            if plan.load == Load::Mixed {
                self.crew.start(Role::Compact)?;
            }
        }
        self.wait_for_start()?;
        let begun = Instant::now();
        self.crew.begin();
        self.follow(begun)?;
        let seconds = begun.elapsed().as_secs_f64();

        self.board.set_phase(Phase::Over);
        // A writer may be waiting for a lock, and once more to detach.
        let patience = 2 * self.terms.timeout.unwrap_or(DEFAULT_TIMEOUT) + TO_END;
        self.wait_for_end(patience, |role| matches!(role, Role::Write { .. }))?;
        self.board.set_phase(Phase::End);
        self.wait_for_end(2 * DEFAULT_TIMEOUT + TO_END, |_| true)?;
        Ok(seconds)
    }

    fn writers(&self) -> usize {
        self.crew.members().filter(|member| matches!(member.role, Role::Write { .. })).count()
    }

    /// Until all writers are attached.
    fn wait_for_start(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        while !self.board.lanes().all(Lane::is_ready) {
            interrupt::sleep(GLANCE)?;
            self.reap()?;
            if begun.elapsed() > TO_START {
                let what = format!("{} worker processes did not start in time: try fewer", self.writers());
                return Err(Failure::new(exit::FAILURE, what));
            }
        }
        Ok(())
    }

    /// Until those of some roles have ended; kills those who take longer than they may.
    fn wait_for_end(&mut self, patience: Duration, of: fn(Role) -> bool) -> Result<(), Failure> {
        let begun = Instant::now();
        while self.crew.members().any(|member| of(member.role)) {
            interrupt::sleep(GLANCE)?;
            self.reap()?;
            if begun.elapsed() > patience {
                for (role, id) in self.crew.kill_those(of) {
                    self.hung += 1;
                    self.told.push(format!("process {id} did not end in time: {role:?}"));
                    self.died(role);
                }
            }
        }
        Ok(())
    }

    /// Watches the writers while they work, and kills some.
    fn follow(&mut self, begun: Instant) -> Result<(), Failure> {
        let Terms { plan, time, kill, .. } = *self.terms;
        let all = plan.lanes * plan.acts;
        let mut random = Random::new(plan.seed);
        let mut due = match kill {
            true => kills(plan, &mut random),
            false => Vec::new(),
        };
        let mut progress = Progress::new("stressing", Some(all));
        while !self.board.lanes().all(Lane::is_done) && begun.elapsed() < time {
            interrupt::sleep(GLANCE)?;
            let acts = self.board.lanes().map(Lane::acknowledged).sum();
            progress.at(acts);
            self.reap()?;
            if self.writers() == 0 {
                break;
            }
            if due.last().is_some_and(|at| acts >= *at) {
                due.pop();
                self.kill_one(&mut random)?;
            }
        }
        Ok(())
    }

    fn kill_one(&mut self, random: &mut Random) -> Result<(), Failure> {
        let others = random.below(KILLS_OF_OTHERS) == 0;
        let may_die = |role| match role {
            Role::Write { lane, .. } => !others && !self.board.lane(lane).is_done(),
            Role::Read { .. } | Role::Compact => others,
            Role::Clear => false,
        };
        let members = (0..).zip(self.crew.members());
        let victims: Vec<usize> =
            members.filter(|(_, member)| may_die(member.role)).map(|(at, _)| at).collect();
        match victims.get(random.below(victims.len())) {
            Some(victim) => {
                let ended = self.crew.kill(*victim)?;
                self.ended(ended)
            }
            None => Ok(()),
        }
    }

    fn reap(&mut self) -> Result<(), Failure> {
        self.crew.reap()?.into_iter().try_for_each(|ended| self.ended(ended))
    }

    /// One was killed, by us or by somebody else, or has ended by itself.
    fn ended(&mut self, ended: Ended) -> Result<(), Failure> {
        match (ended.role, ended.code) {
            (role, _) if ended.killed => {
                self.kills += 1;
                self.died(role);
                self.replace(role)
            }
            (_, exit::OK) => Ok(()),
            (Role::Read { .. }, exit::CORRUPTION) => {
                self.faults.push(ended.message);
                Ok(())
            }
            // What the others have been told can be held against what is there all the same.
            (role, exit::CORRUPTION) => {
                self.damage.push(ended.message);
                self.died(role);
                Ok(())
            }
            (_, code) => Err(Failure::new(code, format!("a worker process: {}", ended.message))),
        }
    }

    /// Notes that a writer may have written what it did not come to note.
    fn died(&mut self, role: Role) {
        if let Role::Write { lane, .. } = role {
            self.lives[lane as usize].push(self.board.lane(lane).acknowledged());
        }
    }

    /// Starts another one in the place of one that was killed.
    fn replace(&mut self, role: Role) -> Result<(), Failure> {
        let role = match role {
            Role::Write { lane, .. } => {
                let lives = &self.lives[lane as usize];
                let (life, from) = (lives.len() as u64 - 1, lives.last().copied().unwrap_or_default());
                Role::Write { lane, life, from }
            }
            other => other,
        };
        self.crew.start(role)?;
        self.crew.begin();
        Ok(())
    }
}

/// After how many acts of all lanes somebody is killed, the first one last.
fn kills(plan: Plan, random: &mut Random) -> Vec<u64> {
    let all = (plan.lanes * plan.acts) as usize;
    let mut due: Vec<u64> = (0..plan.lanes * KILLS_EACH).map(|_| random.below(all) as u64).collect();
    due.sort_unstable_by(|a, b| b.cmp(a));
    due
}

/// Reads all there is, and holds it against the board.
pub(super) fn examine(
    cohort: &Cohort,
    plan: &Plan,
    board: &Board,
    lives: &[Vec<u64>],
) -> Result<Outcome, Failure> {
    let mut check = Check::new(plan, board, lives);
    let mut broken = None;
    let mut progress = Progress::new("checking", cohort.last_seq().ok());
    match cohort.cursor(1) {
        Err(e) => broken = Some(e),
        Ok(mut cursor) => loop {
            match cursor.next_ref() {
                Ok(Some(record)) => {
                    check.record(record.seq(), record.key(), record.json().unwrap_or_default());
                    if record.seq() % BETWEEN_CHECKS == 0 {
                        progress.at(record.seq());
                        interrupt::check()?;
                    }
                }
                Ok(None) => break,
                Err(e) => {
                    broken = Some(e);
                    break;
                }
            }
        },
    }
    if let Some(e) = &broken {
        check.broken(e);
    }
    let (mut outcome, state) = check.end();
    if broken.is_none() && *cohort.settings().fold() != Fold::Log {
        // As it is, and once more when all of it is in the snapshot.
        for compacted in [false, true] {
            interrupt::check()?;
            let viewed = match compacted {
                true => cohort.compact().and_then(|_| cohort.view()),
                false => cohort.view(),
            };
            match viewed {
                Ok(view) => state.is(&view, &mut outcome),
                Err(e) => outcome.damage(e),
            }
        }
    }
    interrupt::check()?;
    match cohort.verify() {
        Ok(report) => {
            let damage = report.findings.into_iter().filter(|finding| finding.severity == Severity::Damage);
            damage.for_each(|finding| outcome.damage(format!("verify: {}", finding.what)));
        }
        Err(e) => outcome.damage(e),
    }
    Ok(outcome)
}
