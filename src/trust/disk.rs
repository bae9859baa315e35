//! A disk and the memory before it, as far as a crash tells them apart: replayed from what was recorded at the seam.
//!
//! Of each file it knows the bytes that processes see, the bytes that are on the medium, and every version of each sector since;
//! of each directory the names that processes see, those on the medium, and the changes in between. A sync settles one file, or
//! the names of one directory, and nothing else. A sync that has failed settles nothing, and what was pending never reaches the
//! medium by a later sync: the kernel has marked it clean.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crate::names;
use crate::sys::{self, Event};

/// What a medium writes whole or not at all.
pub(super) const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    files: Vec<FileState>,
    /// Which of them a recording means by its numbers.
    ids: HashMap<usize, usize>,
    /// By directory: the names that processes see, and those on the medium.
    live: Vec<Names>,
    settled: Vec<Names>,
    /// Changes of names that no sync has settled, oldest first.
    pending: Vec<NameChange>,
    controls: BTreeMap<PathBuf, Arc<[u8]>>,
    /// How many operations have been replayed.
    operations: usize,
}

#[derive(Clone, Debug, Default)]
struct FileState {
    live: Rc<Vec<u8>>,
    settled: Rc<Vec<u8>>,
    /// By sector: after which operation it held what, since the last sync, oldest first.
    versions: BTreeMap<usize, Vec<(usize, Vec<u8>)>>,
    /// After which operation it had which length, since the last sync.
    lengths: Vec<(usize, usize)>,
}

type Names = BTreeMap<String, Entry>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    File(usize),
    Dir(usize),
    Symlink(String),
}

/// One change of names: at once, for processes and for a power cut, even from one directory to another.
#[derive(Clone, Debug)]
struct NameChange {
    gone: Option<(usize, String)>,
    new: Option<(usize, String, Entry)>,
    operation: usize,
}

/// Something that a power cut may leave in one of several states: 0 is what was settled.
#[derive(Clone, Copy, Debug)]
pub(super) enum Element {
    Name(usize),
    Length { file: usize },
    Sector { file: usize, sector: usize },
}

/// What stands in a directory: to be looked at, or made.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    dirs: BTreeSet<PathBuf>,
    symlinks: BTreeMap<PathBuf, String>,
    /// With the number of the file, for one file may have two names.
    files: Vec<(PathBuf, usize, Rc<Vec<u8>>)>,
}

impl FileState {
    fn resize(&mut self, len: usize, operation: usize) {
        if len != self.live.len() {
            Rc::make_mut(&mut self.live).resize(len, 0);
            self.lengths.push((operation, len));
        }
    }

    fn write(&mut self, offset: usize, bytes: &[u8], operation: usize) {
        if bytes.is_empty() {
            return;
        }
        self.resize(self.live.len().max(offset + bytes.len()), operation);
        Rc::make_mut(&mut self.live)[offset..offset + bytes.len()].copy_from_slice(bytes);
        for sector in offset / SECTOR..(offset + bytes.len()).div_ceil(SECTOR) {
            let version = sector_of(&self.live, sector);
            self.versions.entry(sector).or_default().push((operation, version));
        }
    }

    fn punch(&mut self, from: usize, to: usize, operation: usize) {
        let to = to.min(self.live.len());
        if from < to {
            self.write(from, &vec![0; to - from], operation);
        }
    }

    fn sync(&mut self, failed: bool) {
        let versions = std::mem::take(&mut self.versions);
        self.lengths.clear();
        if failed {
            return;
        }
        let settled = Rc::make_mut(&mut self.settled);
        settled.resize(self.live.len(), 0);
        for sector in versions.into_keys() {
            let end = ((sector + 1) * SECTOR).min(settled.len());
            settled[sector * SECTOR..end].copy_from_slice(&self.live[sector * SECTOR..end]);
        }
    }
}

/// A whole sector, with zeros behind the end of the file.
fn sector_of(bytes: &[u8], sector: usize) -> Vec<u8> {
    let from = (sector * SECTOR).min(bytes.len());
    let mut whole = bytes[from..(from + SECTOR).min(bytes.len())].to_vec();
    whole.resize(SECTOR, 0);
    whole
}

impl Disk {
    pub(super) fn new() -> Disk {
        Disk { live: vec![Names::new()], settled: vec![Names::new()], ..Disk::default() }
    }

    fn dir(&self, path: &Path) -> usize {
        path.iter().fold(0, |dir, name| match self.live[dir].get(&*name.to_string_lossy()) {
            Some(Entry::Dir(dir)) => *dir,
            other => panic!("{} is no directory: {other:?}", path.display()),
        })
    }

    fn place(&self, path: &Path) -> (usize, String) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (self.dir(path.parent().expect("a directory")), name)
    }

    fn id(&mut self, recorded: usize) -> usize {
        let files = &mut self.files;
        *self.ids.entry(recorded).or_insert_with(|| {
            files.push(FileState::default());
            files.len() - 1
        })
    }

    fn file(&mut self, recorded: usize) -> &mut FileState {
        let id = self.id(recorded);
        &mut self.files[id]
    }

    /// The same disk, for what was recorded from here on in a copy of what processes see.
    pub(super) fn go_on(&self) -> Disk {
        Disk { ids: HashMap::new(), ..self.clone() }
    }

    fn change(&mut self, gone: Option<(usize, String)>, new: Option<(usize, String, Entry)>) {
        if let Some((dir, name)) = &gone {
            self.live[*dir].remove(name);
        }
        if let Some((dir, name, entry)) = &new {
            self.live[*dir].insert(name.clone(), entry.clone());
        }
        self.pending.push(NameChange { gone, new, operation: self.operations });
    }

    fn new_dir(&mut self) -> Entry {
        self.live.push(Names::new());
        self.settled.push(Names::new());
        Entry::Dir(self.live.len() - 1)
    }

    pub(super) fn replay(&mut self, event: &Event) {
        let operation = self.operations;
        match event {
            Event::Found { at, file, bytes } => {
                let (dir, name) = self.place(at);
                if let Some(Entry::File(known)) = self.live[dir].get(&name) {
                    self.ids.insert(*file, *known);
                    return;
                }
                let id = self.id(*file);
                let state = &mut self.files[id];
                state.live = Rc::new(bytes.clone());
                state.settled = Rc::clone(&state.live);
                self.live[dir].insert(name.clone(), Entry::File(id));
                self.settled[dir].insert(name, Entry::File(id));
            }
            Event::FoundDirectory { at } => {
                let (dir, name) = self.place(at);
                if self.live[dir].contains_key(&name) {
                    return;
                }
                let made = self.new_dir();
                self.live[dir].insert(name.clone(), made.clone());
                self.settled[dir].insert(name, made);
            }
            Event::FoundSymlink { at, target } => {
                let (dir, name) = self.place(at);
                let link = Entry::Symlink(target.clone());
                self.live[dir].insert(name.clone(), link.clone());
                self.settled[dir].insert(name, link);
            }
            Event::Symlink { at, target } => {
                let (dir, name) = self.place(at);
                self.change(None, Some((dir, name, Entry::Symlink(target.clone()))));
            }
            Event::Create { at, file } => {
                let id = self.id(*file);
                let (dir, name) = self.place(at);
                self.change(None, Some((dir, name, Entry::File(id))));
            }
            Event::MakeDirectory { at } => {
                let (dir, name) = self.place(at);
                if !self.live[dir].contains_key(&name) {
                    let made = self.new_dir();
                    self.change(None, Some((dir, name, made)));
                }
            }
            Event::Rename { from, to } => {
                let (from, (dir, name)) = (self.place(from), self.place(to));
                let entry = self.live[from.0][&from.1].clone();
                // Between two names of one file it does nothing.
                if self.live[dir].get(&name) != Some(&entry) {
                    self.change(Some(from), Some((dir, name, entry)));
                }
            }
            Event::Link { from, to } => {
                let (from, (dir, name)) = (self.place(from), self.place(to));
                let entry = self.live[from.0][&from.1].clone();
                self.change(None, Some((dir, name, entry)));
            }
            Event::Remove { at } => {
                let gone = self.place(at);
                self.change(Some(gone), None);
            }
            Event::SyncDirectory { at, failed } => self.sync_directory(at, *failed),
            Event::Write { file, offset, bytes, .. } => {
                self.file(*file).write(*offset as usize, bytes, operation);
            }
            Event::Allocate { file, len } => {
                let state = self.file(*file);
                state.resize((*len as usize).max(state.live.len()), operation);
            }
            Event::Punch { file, from, to } => {
                self.file(*file).punch(*from as usize, *to as usize, operation);
            }
            Event::Sync { file, failed } => self.file(*file).sync(*failed),
            Event::Control { at, bytes } => {
                self.controls.insert(at.clone(), Arc::clone(bytes));
            }
            Event::Note(_) => {}
        }
        self.operations += usize::from(event.is_operation());
    }

    fn sync_directory(&mut self, at: &Path, failed: bool) {
        if failed {
            return;
        }
        let dir = self.dir(at);
        let concerns = |change: &NameChange| {
            change.gone.as_ref().is_some_and(|(d, _)| *d == dir)
                || change.new.as_ref().is_some_and(|(d, ..)| *d == dir)
        };
        for change in self.pending.extract_if(.., |change| concerns(change)) {
            apply(&change, &mut self.settled);
        }
    }

    /// What processes see.
    pub(super) fn live(&self) -> Image {
        let mut image = Image::default();
        self.walk(&self.live, 0, Path::new(""), &mut image, &|file| Rc::clone(&self.files[file].live));
        for (at, bytes) in &self.controls {
            image.put(at, Rc::new(bytes.to_vec()));
        }
        image
    }

    /// What a power cut may leave so or so.
    pub(super) fn elements(&self) -> Vec<Element> {
        let mut elements: Vec<Element> = (0..self.pending.len()).map(Element::Name).collect();
        for file in self.named() {
            let state = &self.files[file];
            if !state.lengths.is_empty() {
                elements.push(Element::Length { file });
            }
            elements.extend(state.versions.keys().map(|sector| Element::Sector { file, sector: *sector }));
        }
        elements
    }

    /// Files that have a name, had one on the medium, or may have got one.
    fn named(&self) -> BTreeSet<usize> {
        let entries = self.live.iter().chain(&self.settled).flat_map(Names::values);
        let pending = self.pending.iter().filter_map(|change| change.new.as_ref().map(|(.., entry)| entry));
        entries
            .chain(pending)
            .filter_map(|entry| match entry {
                Entry::File(file) => Some(*file),
                Entry::Dir(_) | Entry::Symlink(_) => None,
            })
            .collect()
    }

    /// In how many states it may be left, of which the last is garbage where that may be: where nothing was settled.
    pub(super) fn states_of(&self, element: Element) -> (usize, bool) {
        match element {
            Element::Name(_) => (2, false),
            Element::Length { file } => (1 + self.files[file].lengths.len(), false),
            Element::Sector { file, sector } => {
                let state = &self.files[file];
                let blank = sector_of(&state.settled, sector).iter().all(|byte| *byte == 0);
                (1 + state.versions[&sector].len() + usize::from(blank), blank)
            }
        }
    }

    /// The operations that something pending comes from.
    pub(super) fn pending_operations(&self, elements: &[Element]) -> BTreeSet<usize> {
        let mut operations = BTreeSet::new();
        for element in elements {
            match *element {
                Element::Name(change) => drop(operations.insert(self.pending[change].operation)),
                Element::Length { file } => {
                    operations.extend(self.files[file].lengths.iter().map(|(operation, _)| operation));
                }
                Element::Sector { file, sector } => {
                    let versions = &self.files[file].versions[&sector];
                    operations.extend(versions.iter().map(|(operation, _)| operation));
                }
            }
        }
        operations
    }

    /// What is on the medium if everything has reached it in order, up to the operation `last`.
    pub(super) fn in_order(&self, elements: &[Element], last: usize) -> Vec<usize> {
        let pick = |element: &Element| match *element {
            Element::Name(change) => usize::from(self.pending[change].operation <= last),
            Element::Length { file } => {
                self.files[file].lengths.partition_point(|(operation, _)| *operation <= last)
            }
            Element::Sector { file, sector } => {
                self.files[file].versions[&sector].partition_point(|(operation, _)| *operation <= last)
            }
        };
        elements.iter().map(pick).collect()
    }

    /// What a power cut leaves if it picks these states of the elements.
    pub(super) fn cut(&self, elements: &[Element], picks: &[usize]) -> Image {
        let mut names = self.settled.clone();
        let mut contents: HashMap<usize, Vec<u8>> = HashMap::new();
        let mut lengths: HashMap<usize, usize> = HashMap::new();
        for (element, pick) in elements.iter().zip(picks) {
            match *element {
                Element::Name(_) if *pick == 0 => {}
                Element::Name(change) => apply(&self.pending[change], &mut names),
                Element::Length { file } if *pick == 0 => {
                    lengths.insert(file, self.files[file].settled.len());
                }
                Element::Length { file } => {
                    lengths.insert(file, self.files[file].lengths[*pick - 1].1);
                }
                Element::Sector { .. } if *pick == 0 => {}
                Element::Sector { file, sector } => {
                    let state = &self.files[file];
                    let content = contents.entry(file).or_insert_with(|| state.settled.to_vec());
                    let from = sector * SECTOR;
                    content.resize(content.len().max(from + SECTOR), 0);
                    match state.versions[&sector].get(*pick - 1) {
                        Some((_, version)) => content[from..from + SECTOR].copy_from_slice(version),
                        None => fill_with_garbage(&mut content[from..from + SECTOR], sector as u64),
                    }
                }
            }
        }
        let mut image = Image::default();
        self.walk(&names, 0, Path::new(""), &mut image, &|file| {
            let state = &self.files[file];
            let mut content = match contents.get(&file) {
                Some(content) => Rc::new(content.clone()),
                None => Rc::clone(&state.settled),
            };
            let len = lengths.get(&file).copied().unwrap_or(state.settled.len());
            if content.len() != len {
                Rc::make_mut(&mut content).resize(len, 0);
            }
            content
        });
        // Shared memory gets to the disk whenever the kernel likes.
        for (at, bytes) in &self.controls {
            image.replace(at, Rc::new(bytes.to_vec()));
        }
        image
    }

    fn walk(
        &self,
        names: &[Names],
        dir: usize,
        path: &Path,
        image: &mut Image,
        content: &dyn Fn(usize) -> Rc<Vec<u8>>,
    ) {
        for (name, entry) in &names[dir] {
            let path = path.join(name);
            match entry {
                Entry::File(file) => image.files.push((path, *file, content(*file))),
                Entry::Symlink(target) => drop(image.symlinks.insert(path, target.clone())),
                Entry::Dir(dir) => {
                    image.dirs.insert(path.clone());
                    self.walk(names, *dir, &path, image, content);
                }
            }
        }
    }
}

fn apply(change: &NameChange, names: &mut [Names]) {
    if let Some((dir, name)) = &change.gone {
        names[*dir].remove(name);
    }
    if let Some((dir, name, entry)) = &change.new {
        names[*dir].insert(name.clone(), entry.clone());
    }
}

fn fill_with_garbage(bytes: &mut [u8], seed: u64) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for byte in bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state as u8;
    }
}

impl Image {
    fn put(&mut self, at: &Path, bytes: Rc<Vec<u8>>) {
        if !self.replace(at, Rc::clone(&bytes)) && at.parent().is_some_and(|dir| self.dirs.contains(dir)) {
            self.files.push((at.to_path_buf(), usize::MAX, bytes));
        }
    }

    fn replace(&mut self, at: &Path, bytes: Rc<Vec<u8>>) -> bool {
        let found = self.files.iter_mut().find(|(path, ..)| path == at);
        found.map(|(.., content)| *content = bytes).is_some()
    }

    /// Without what a start of the system makes anew: two states that differ in that alone are one.
    pub(super) fn without_control(mut self) -> Image {
        self.files.retain(|(path, ..)| path.file_name().is_none_or(|name| name != names::CONTROL));
        self
    }

    /// Two images with the same number are the same.
    pub(super) fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.dirs, &self.symlinks).hash(&mut hasher);
        for (path, file, bytes) in &self.files {
            let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
            (path, file, bytes.len(), &bytes[..bytes.len() - zeros]).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Makes it in an empty directory.
    pub(super) fn make(&self, root: &Path) {
        for dir in &self.dirs {
            std::fs::create_dir(root.join(dir)).unwrap();
        }
        for (path, target) in &self.symlinks {
            std::os::unix::fs::symlink(target, root.join(path)).unwrap();
        }
        let mut made: HashMap<usize, &Path> = HashMap::new();
        for (path, file, bytes) in &self.files {
            match made.get(file).filter(|_| *file != usize::MAX) {
                Some(other) => std::fs::hard_link(root.join(other), root.join(path)).unwrap(),
                None => std::fs::write(root.join(path), &**bytes).unwrap(),
            }
            made.insert(*file, path);
        }
        for (path, ..) in &self.files {
            if path.file_name().is_some_and(|name| name == names::CONTROL) {
                sys::adopt_control(root.join(path).parent().unwrap());
            }
        }
    }
}
