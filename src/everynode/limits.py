"""Every bound in one place, each with its reason. Times in seconds unless the name says otherwise."""

from __future__ import annotations

KiB = 1024
MiB = 1024 * KiB

# Paths. A name of 255 bytes is the limit of every Linux filesystem (NAME_MAX).
NAME_BYTES_MAX = 255
# Longer paths than PATH_MAX exist, but records must be bounded before a peer may make us allocate.
PATH_BYTES_MAX = 16 * KiB
PATH_DEPTH_MAX = 1024
# The folder in each root that holds the vault and the marker; never replicated.
RESERVED_NAME = b".everynode"

# Contents. A small change must need one one-way trip: contents up to this ride in the batch.
INLINE_BYTES_MAX = 32 * KiB
# The unit of fetching, verifying and resuming: small enough that a scattered edit moves little,
# large enough that its digest (32 bytes) is 1/4096 of it.
BLOCK_BYTES = 128 * KiB
# One answer to a fetch: enough to fill a fast link at one round trip, small enough to share it.
FETCH_BYTES_MAX = 1 * MiB
# Fetch requests under way per peer: FETCH_BYTES_MAX * this is what one file may hold in memory.
FETCH_WINDOW = 8

# Messages. The largest legal frame; a longer length is refused before anything is allocated.
FRAME_BYTES_MAX = 8 * MiB
# A batch or part of a run is closed when it holds this much...
BATCH_BYTES = 1 * MiB
BATCH_RECORDS = 1024
# ...and the parts of a run that may be under way unacknowledged.
RUN_WINDOW = 4
# Inline contents kept in memory between hearing and placing; beyond it they are fetched again.
INLINE_CACHE_BYTES = 64 * MiB
# Own batches kept for linked peers that are a little behind; beyond it they catch up by a run.
ANNOUNCE_RING_BYTES = 32 * MiB
# Live batches sent to a peer and not heard there yet: fills a link of 1 GB/s and 30 ms.
LIVE_WINDOW_BYTES = 32 * MiB
# Batches heard and not yet in the index; beyond it they are dropped and asked for again by a run.
INBOUND_BYTES_MAX = 64 * MiB
# An origin's counter: 2^53 keeps it exact in JSON; at a million changes a second it lasts 285 years.
SEQUENCE_MAX = 2**53
# Origins in one vector: members that ever were, with every epoch; hostile vectors are cut here.
ORIGINS_MAX = 65_536
# A version on the wire: a conflict of a hundred nodes, or a thousand origins that once changed the path. A thousand
# such records are a batch's worth in memory at once.
VERSION_BYTES_MAX = 64 * KiB
# Siblings of one path: one per node that changed it concurrently.
SIBLINGS_MAX = 4_096

# Links.
HANDSHAKE_TIMEOUT = 10.0  # a silent client holds a handshake until our deadline
HEARTBEAT_INTERVAL = 2.0
HEARTBEAT_MISSED_MAX = 3  # a peer silent for this many intervals is cut off and dialled again
RECONNECT_MIN = 0.2
RECONNECT_MAX = 15.0
SEND_QUEUE_BYTES = 8 * MiB  # what may wait in memory for one slow peer before senders wait
CONNECTIONS_UNKNOWN_MAX = 64  # handshakes under way from anybody at once
# Connections that wait to be accepted: where there is no room, a member's dial is dropped too, and repeated after 1 s.
ACCEPT_BACKLOG = 1024
# Anybody can make us refuse a connection, thousands a second: so many lines of log are worth it in so many seconds.
REFUSALS_LOGGED = 20
REFUSALS_INTERVAL = 60.0

# Capture.
SETTLE_MS = 20  # quiet time after a notice that is not a close or rename
BUSY_LOOKS_MAX = 40  # quick looks at a file that has a writer, before they become rarer (its close tells of itself)
BUSY_LOOK_INTERVAL_MS = 250
# A file that is held open for so long is followed: longer than any save takes, short enough for somebody at a log.
FOLLOW_SECONDS = 30
FOLLOW_SECONDS_MAX = 86_400  # a day; more would look like a broken group
# A large file is followed more slowly, so that it costs each node no more than this of reading and of writing. So a
# copy that makes this much a second is not followed while it goes on...
FOLLOW_BYTES_PER_SECOND = 1 * MiB
FOLLOW_AGE_MAX = 3600  # ...but the age is bounded
CHANGE_LOOKS_MAX = 5  # reads of a file that changes while read, before it counts as busy
TICK_NS = 10_000_000  # a stamp younger than a clock tick at observation is not trusted later
# A write to a file with several names has all be scanned for the others: not more often than this.
NAMES_SCAN_INTERVAL = 5.0
# Who makes many hard links must not cause scan on scan either; a change of attributes right after is all it may find.
NEW_NAMES_SCAN_INTERVAL = 60.0
SCAN_BATCH = 1024  # paths looked at in one hop to a thread
SCAN_FIRST = 64  # ...and in the first one of a walk; each next one is twice as large
SYNC_INTERVAL = 5.0  # background sync of captured contents (raises synced_seq)

# Forgetting deletions. A member that comes back after this compares everything, which is exact and takes longer.
EVICT_DAYS = 30.0
SEEN_STEP = 3600.0  # seconds: a member's last sign of life is written no more often than this

# Applying.
APPLY_BATCH = 1024  # records placed in one group commit
APPLY_BATCH_BYTES = 32 * MiB
PASS_REST = 3  # while contents are on their way, placing rests so many times as long as its last pass took...
PASS_REST_MAX = 2.0  # ...and never longer than this, in seconds
SYNCFS_FILES_MIN = 16  # fewer files than this are synced one by one
PLACE_WAIT = 30.0  # how long placing waits for a writer before it says so as a problem
WRITER_RETRY_MAX = 5.0  # and how rarely at most it tries: nothing tells of it when the last one who has a file is gone
EARLIER_MAX = 4  # own contents of a path that a power cut may bring back, remembered: the synced one, and later ones
OVERTAKEN_MAX = 8  # versions of a path heard while one of them was placed, remembered in case of a crash
RETRY_MIN = 1.0  # a path that failed is tried again after this, doubling to RETRY_MAX
RETRY_MAX = 300.0

# A peer's word that this index is old begins a new life of it, which all nodes remember for ever; it is believed again
# only after so long. A restored index is noticed once, so it costs nothing; a liar makes 1,440 a day, of ORIGINS_MAX.
EPOCH_REST = 60.0
START_GRACE = 2.0  # how long a started group waits for a peer's hello before it numbers changes
RECENT_BYTES_MAX = 4 * MiB  # of these, versions that are not simple, as on the wire
RECENT_RECORDS_MAX = 4096  # heard and not placed, kept decoded (some 1 KiB each): what apply does not lag behind by
BACKLOG_MAX = 8192  # records heard and not placed at which a run is told to pause
SCAN_WAIT = 2.0  # how long a scan lets linked peers keep up with what it finds, per batch
RUN_STALL = 30.0  # a run from which nothing came for this long is given up, and asked of another peer
FORGET_INTERVAL = 60.0  # how often tombstones that all members heard are looked for
FORGET_BATCH = 4096
PRUNE_INTERVAL = 60.0  # how often the vault's bounds are enforced
SPACE_LOOK = 0.5  # how long it is believed how much room a disk had, less what was fetched since, in seconds
FETCH_FILES = 4  # large files fetched at once in a group
FETCH_SMALL_FILES = 64  # small ones: each waits for a round trip
FETCH_PENDING_MAX = 1024  # fetches queued or under way
ORPHAN_WAIT = 10.0  # how long a path waits for the record of its directory before a plain one is made
FETCH_TIMEOUT = 30.0  # a peer that does not answer a fetch for this long is passed over

# Brakes. Removals by one peer are held when they are more than this many files...
# A thousand: nobody deletes so many one by one, few clean-ups reach it, and what is below it fits into every vault.
BRAKE_FILES = 1000
# ...and more than this share of the group: a large tree may lose the cache of a day without asking anybody.
BRAKE_PERCENT = 10.0
BRAKE_WINDOW = 600.0  # what was placed in this time counts as well: a slow removal is one all the same
# Removals by one peer within a moment beyond which they gather before any is placed: a handful need not wait.
BRAKE_FEW = 64
BRAKE_BURST = 1.0  # that moment
BRAKE_QUIET = 0.3  # nothing more is heard for this long: the run is whole, and what was moved can be told from it...
BRAKE_GATHER = 10.0  # ...but a removal waits no longer than this for a decision of the brake
BRAKE_COUNT_INTERVAL = 5.0  # what is held is counted again when the index has changed, not more often than this
HOLDS_MAX = 1000  # origins of which removals are held, as told to peers
RELEASES_MAX = 1000  # spans of released removals that are remembered; who was away for more is asked again

# Vault.
VAULT_GENERATIONS = 5
VAULT_AGE_DAYS = 30
VAULT_BYTES = 10 * 1024 * MiB
FREE_RESERVE_PERCENT = 5  # of the filesystem, kept free above all generations
FREE_RESERVE_BYTES_MAX = 1024 * MiB

# Reports.
PROBLEMS_SHOWN_MAX = 1000
LOG_EVENTS_KEPT = 10_000
HEADS_DELAY_MS = 20  # knowledge is announced this long after it changed, once for many changes
HEADS_GRACE = 0.4  # what a peer knows and we do not is asked for after this; at once if its author is not linked
EXCEPTIONS_MAX = 1000  # unplaced dots named one by one in placed knowledge

# Trust.
TOKEN_VALID_SECONDS = 3600
JOIN_MESSAGE_BYTES_MAX = 64 * KiB
STATEMENT_BYTES_MAX = 256 * KiB
STATEMENTS_MAX = 10_000
STATEMENTS_REFUSED_MAX = 100  # in one message: a node of another version may send a few, nobody honest sends more
CERTIFICATE_BYTES_MAX = 4 * KiB  # ours have about 300; a stranger's is refused before it is parsed

# Messages and links (what a peer may say; what we send ourselves stays well below).
# Records in one batch or part of a run: senders close at BATCH_RECORDS, a hostile frame could hold 100 times more.
MESSAGE_RECORDS_MAX = 8 * BATCH_RECORDS
# A name, an address or a reason: room for a reason that quotes the longest path with every byte escaped.
TEXT_CHARS_MAX = 128 * KiB
# Where a node listens unless told otherwise: above the ports that need root (1024), below those that Linux hands out
# to outgoing connections (32768), and none of the common services.
PORT_DEFAULT = 7391

# The local API. A waiting request holds one connection; who wants to wait longer asks again.
API_WAIT_MAX = 3600.0
API_WAIT_LOOK = 0.1  # how often it is looked whether the group that is waited for was opened or closed meanwhile
# A hint may name a hundred thousand paths at once; only the node's own user can send it.
API_BODY_BYTES_MAX = 64 * MiB

# Tree and content.
DIRECTORIES_OPEN_MAX = 64  # directory fds one batch keeps open: fits deep trees, far below RLIMIT_NOFILE
READ_BYTES = 2 * MiB  # read at once when hashing: hides the cost of a call, stays in the cache
BLOCK_LISTS_BYTES = 16 * MiB  # recent block lists in memory: those of 64 GiB of large files
OBSERVED_LISTS_BYTES = 4 * MiB  # block lists handed back by one batch of looks
STATEMENTS_BYTES_MAX = 4 * MiB  # the whole cluster file travels in one frame
ADDRESSES_MAX = 16  # per node: more only makes dialling slow
MEMBERS_MAX = 4096  # nodes that ever were; far beyond what a mesh can carry
INVITES_MAX = 1000  # open, used and expired ones kept for clear answers; the oldest go first
ADDRESS_CHARACTERS_MAX = 300  # a DNS name has at most 253

# Settings.
PATTERNS_MAX = 1000  # exclude patterns of a group: all are compiled into one automaton
PATTERN_CHARACTERS_MAX = 4096  # no path component sequence worth excluding is longer
SETTLE_MS_MAX = 3_600_000  # an hour; more would look like a broken group
EXCLUDE_CACHE_DIRECTORIES = 4096  # directories whose verdict is remembered while a tree is walked

# Channels between nodes.
# What one slow peer may hold of our memory in each of the two lanes.
SEND_LANE_BYTES = SEND_QUEUE_BYTES // 2
# Received and not yet handled, per link; beyond it the socket is not read. One large message behind another.
RECEIVE_QUEUE_BYTES = 2 * MiB
# Handed to TLS and kernel and not yet on the network: no urgent message overtakes it. 1 ms of a 1 Gbit/s link;
# twice as much was no faster on loopback, and let urgent messages wait twice as long.
TRANSPORT_BYTES = 128 * KiB
# One read may cost the event loop so much (a megabyte of records takes some 3 ms); who needs more is not read for as
# long as that took, so that a peer never has more than half of the loop.
READ_SECONDS = 0.01
# Small frames that leave together: one write of four TLS records costs one system call.
COALESCE_BYTES = 64 * KiB
# Of urgent messages before one bulk message gets its turn, so that a storm of changes starves no large file.
URGENT_BYTES_IN_A_ROW = 2 * MiB
# A second link to one peer waits this long for the first to prove dead or preferred: some round trips and one
# retransmission on a slow line.
DUPLICATE_GRACE = 1.0
# Groups of a peer that we do not hold and told it so, once each; a cluster has a handful, more is an attack.
GROUPS_REFUSED_MAX = 1000
CONNECT_TIMEOUT = 3.0  # for one address of a peer, before the next is tried
CLOSE_TIMEOUT = 1.0  # what a closing link may take to say goodbye
# Messages of one group that wait for its handler, per peer; beyond it the link is not read. Room for one answer to
# each fetch in the window.
GROUP_INBOX_BYTES = 16 * MiB

# Notices.
HANDLES_CACHED = 65_536  # directory handles whose place is remembered: some 15 MiB when all are long
NOTICES_PER_CALL = 4096  # the event loop is not kept longer than some 20 ms
READS_PER_CALL = 4  # the same bound where nothing that was heard concerns the root
# After notices of our own writing alone the next are let gather for so long: what a change of somebody else may wait
# while this node places files. Without it every file placed costs some 15 system calls and thread switches more.
OWN_NOTICES_PAUSE = 0.005
WATCHES_PER_CALL = 512  # inotify: directories watched and listed in one go, some 20 ms
MOVE_PAIR_MS = 5  # inotify: how long the second half of a move is waited for
UNWATCHED_SCAN_INTERVAL = 60.0  # what cannot be watched is scanned this often...
UNWATCHED_MAX = 256  # ...each by itself up to this many directories, else the whole root
EXCLUDE_MEMORY_BYTES_MAX = 128 * MiB  # RE2 takes what the patterns of one group need, up to this

# Daemon. A halted group looks this often whether its cause is gone: soon enough after a mount, cheap enough for ever.
HALT_RETRY = 3.0
HALT_RETRY_MAX = 60.0  # one that fails by a defect is tried ever more slowly
ROOT_CHECK_INTERVAL = 3.0  # five system calls; an unmounted root that nobody touches is noticed within this
WORKERS = 4  # threads that hash, stage and place for all groups: more than cores, because some of them wait for disks
LEAVE_SECONDS = 1.0  # a node that leaves stays this long, so that its peers hear the goodbye
MEMORY_PAUSE = 30.0  # how often a daemon that uses more than this much memory returns what of it lies free, in seconds
MEMORY_BYTES = 96 * MiB
GC_THRESHOLD = 50_000  # new objects between collections: a batch makes thousands, nearly none of them in cycles

# The index. It is looked through whole when it is opened, for as long as this: some three million records that the page
# cache has (0.8 s a million); of a larger one, or on a slow disk, the rest beside the work.
INDEX_CHECK_SECONDS = 2.0
INDEX_CHECK_ROWS = 8192  # ... so many records at once, some 5 ms

# Scrub. Once a month: rarer, and a second disk may have lost the same file by then; oftener wears what it watches over.
SCRUB_DAYS = 30.0
SCRUB_DAYS_MAX = 3650.0
# What was captured in the tick in which it was written is read again this soon: until then damage looks like a write.
FRESHEN_INTERVAL = 60.0
SCRUB_INTERVAL = 300.0  # what is due is read this often, in one go: disks that sleep wake less often
# A tenth of what a slow disk reads: nobody notices it. A round of more than 40 TB takes longer than a month then.
SCRUB_BYTES_PER_SECOND = 16 * MiB
SCRUB_STEP_BYTES = 4 * MiB  # read in one hop to a thread
SCRUB_PASSES_MAX = 64  # passes that were asked for and are remembered
DAMAGED_SHOWN_MAX = 1000  # damaged files that are problems at once after a restart: beyond it the disk is one problem

# Comparing trees. A part of a tree that is hashed: ranges of so many rows first, 1/64 of that where they differ; a
# million files are 250 hashes, and one difference is found among 64 entries.
TREE_PART_ROWS = 4096
TREE_PARTS_MAX = 64  # parts in one message: a quarter of a million rows, about a second of a peer's time
TREE_PART_ROWS_MAX = 2 * TREE_PART_ROWS  # a part of which a node has more differs in any case
TREE_ENTRIES = 256  # entries in one message: 4 MiB with the longest paths
TREE_DIFFERENCES_MAX = 1000  # named; who has more has another tree
TREE_PENDING_MAX = 4  # questions of one peer that wait
VERIFY_AGAIN = 0.5  # what was under way is compared again after this...
VERIFY_PATIENCE = 10.0  # ...for so long
