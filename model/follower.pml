/*
 * A follower's own WAL (docs/follow.md; src/db/follow*.c) as a model for Spin.
 *
 * What happens, when all goes well.  The follower holds the write lock.  A transaction of the source, or content,
 * becomes frames behind mxFrame; the position record is written, with the states before and after; the header of
 * the index is written, copy by copy: now readers see it.  When the log is long it is copied into the file and
 * begun anew, and page 1 is written into it once more.
 *
 * What can go wrong, and is in here: the follower is killed between any two steps, and so leaves frames nobody
 * sees, or copies of the header that differ; readers stay in their snapshots, keep the log from being copied or
 * begun anew, recover the index; while the follower is away a local writer commits, copies, begins the log anew,
 * or the last one to close removes it; power is lost.
 *
 * INVARIANTS
 *
 *   COMMITTED_STATE    a read transaction sees one committed state of the source (or one of the local writer)
 *   NEVER_BACK         and none that is older than the one before
 *   POSITION_IS_DATA   whenever the follower knows a position, what is here is the state of the source there
 *   KILL_IS_NO_LOSS    a kill alone never costs the position, as long as somebody has the index open (but for an
 *                      index that was recovered, and whose log began anew before anything else was published)
 *   QUIET_IS_EQUAL     when nobody has anything left to do, the last commit of the source is here
 *
 * ABSTRACTIONS, and why they lose nothing
 *
 * - Each commit of the source writes both pages, so that a mixture is seen at once; its number is the version of
 *   both.  Page 1 alone, when the log begins anew, makes states that are half in the log and half in the file.
 * - The checksum of frame n is what the log through n holds of both pages: as the checksum, it is the same only if
 *   the content is.  A frame is valid if the chain from the header to it is: one that is written makes those
 *   behind it invalid.
 * - One reader.  Readers have no influence on each other but through what is here: slots and recovery.
 * - What comes over the net, and that it is right, is content.pml.
 *
 * BOUNDS: COMMITS commits, KILLS kills, one local transaction, one loss of power.
 */

#ifndef COMMITS
#define COMMITS 3
#endif
#ifndef KILLS
#define KILLS 1
#endif
#define FRAMES 6
#define LIMIT 2		/* the log is begun anew when it is as long */
#define NONE 15
#define LOCAL 14	/* version of what a local writer wrote */

/* The files. */
byte file1 = 1, file2 = 1;
byte salt;			/* of the WAL file; 0: it is empty */
byte valid;			/* so many frames continue its header */
byte page[FRAMES + 1], version[FRAMES + 1];
bit commits[FRAMES + 1];
byte salts;			/* that were used */
byte synced;			/* frames that no loss of power takes */

/* The shared index. */
bit alive, torn;		/* torn: its two copies differ */
byte mx, mx_salt, change, backfill;
byte changes = 1;

bit write_lock;
byte mark = NONE;		/* of the reader; 0: the file alone; else through this frame of the log */
byte last;			/* that it saw */

/* The position record: two states of the log, and the commit of the source that each is.  salt 0: none. */
typedef state { byte salt, mx, l1, l2, change, is };
state before, after;

byte source = 1;		/* commits there */
byte kills;
bit kill, wrote, lost_power;
bit knew, unsafe;		/* a position was known once; more than kills happened since */

/* Never set: the name of an invariant in the message of its assertion. */
byte COMMITTED_STATE, NEVER_BACK, POSITION_IS_DATA, KILL_IS_NO_LOSS, QUIET_IS_EQUAL;

/* What the log holds of the pages through its first n frames, 0: nothing. */
inline overlay(n, x1, x2)
{
	x1 = 0; x2 = 0; i = 0;
	do
	:: i < n -> i++; if :: page[i] == 1 -> x1 = version[i] :: else -> x2 = version[i] fi
	:: else -> break
	od;
	i = 0
}

inline recover()
{
	i = valid;
	do
	:: i > 0 && !commits[i] -> i--
	:: else -> break
	od;
	mx = i; i = 0;
	mx_salt = salt; backfill = 0; torn = 0; alive = 1;
	change = 0
}

inline set_frame(n, p, v, c)
{
	page[n] = p; version[n] = v; commits[n] = c; valid = n;
	i = n;
	do
	:: i < FRAMES -> i++; page[i] = 0; version[i] = 0; commits[i] = 0
	:: else -> break
	od;
	i = 0;
	if :: synced >= n -> synced = n - 1 :: else fi
}

inline empty_log()
{
	i = 0; salt = 0; valid = 0; synced = 0;
	do
	:: i < FRAMES -> i++; page[i] = 0; version[i] = 0; commits[i] = 0
	:: else -> break
	od;
	i = 0
}

/* ---- A reader ---- */


active proctype reader()
{
	byte i, r1, r2, x1, x2;

endless:
	do
	:: d_step {
		/* Whoever comes and finds no index, or copies that differ and no writer, recovers it. */
		(!alive || torn) && !write_lock -> recover() }
	:: d_step { alive && !torn -> mark = (backfill == mx -> 0 : mx) };
	   d_step {
		overlay(mark, x1, x2);
		r1 = (x1 -> x1 : file1);
		x1 = 0; x2 = 0
	   };
	   d_step {
		overlay(mark, x1, x2);
		r2 = (x2 -> x2 : file2);
		assert(r1 == r2 || COMMITTED_STATE);
		assert(r1 == LOCAL || last == LOCAL || last <= r1 || NEVER_BACK);
		last = r1;
		r1 = 0; r2 = 0; x1 = 0; x2 = 0;
		mark = NONE
	   }
	od
}

/* ---- Others, while the follower is away ---- */

active proctype others()
{
	byte i, x1, x2;

endless:
	do
	/* A local writer: one transaction. */
	:: d_step {
		!write_lock && alive && !torn && !wrote && mx + 2 <= FRAMES ->
		wrote = 1; unsafe = 1;
		if
		:: mx == 0 -> salts++; empty_log(); salt = salts
		:: else
		fi;
		mx_salt = salt;
		set_frame(mx + 1, 1, LOCAL, 0);
		set_frame(mx + 2, 2, LOCAL, 1);
		mx = mx + 2;
#ifdef M_CHANGE_COUNTS
		change++
#else
		change = 255
#endif
	   }
	/* A checkpoint, after which the log begins anew. */
	:: d_step {
		wrote && !write_lock && alive && !torn && mx > 0 && mark == NONE ->
		unsafe = 1;
		overlay(mx, x1, x2);
		file1 = (x1 -> x1 : file1); file2 = (x2 -> x2 : file2);
		x1 = 0; x2 = 0;
		empty_log(); mx = 0; backfill = 0;
		mx_salt = 0
	   }
	/* The last one closes: the log is copied and removed, and with it the index. */
	:: d_step {
		!write_lock && alive && !torn && mark == NONE ->
		unsafe = 1;
		overlay(mx, x1, x2);
		file1 = (x1 -> x1 : file1); file2 = (x2 -> x2 : file2);
		x1 = 0; x2 = 0;
		empty_log(); mx = 0; backfill = 0; mx_salt = 0; change = 0; alive = 0
	   }
	/* Killed all together: the index is gone, the files are as they are. */
	:: d_step { !write_lock && alive && mark == NONE && kills > 0 ->
		unsafe = 1; mx = 0; backfill = 0; mx_salt = 0; change = 0; alive = 0; torn = 0 }
	:: atomic {
		!write_lock && !lost_power && kills > 0 && mark == NONE ->
		lost_power = 1; unsafe = 1; last = 0;
		mx = 0; backfill = 0; mx_salt = 0; change = 0; alive = 0; torn = 0;
		do
		:: valid > synced -> valid--; commits[valid + 1] = 0; page[valid + 1] = 0; version[valid + 1] = 0
		:: break
		od;
		if
		:: after.salt = 0; before.salt = 0; after.change = 0; before.change = 0
		:: true
		fi
	   }
	:: d_step { kills < KILLS && !kill -> kills++; kill = 1 }
	:: d_step { source < COMMITS -> source++ }
	od
}

/* ---- The follower ---- */

/*
 * M_MATCH_BY_LENGTH: a state of the log is known by salts and length.  Wrong: a local writer can have written in
 * the place of frames that nobody saw.
 *
 * M_EMPTY_LOG: an empty log is what was left.  Wrong: somebody may have written and copied since.
 *
 * M_CHANGE_COUNTS: the change counter goes up by one with each publication, as SQLite's own does.  Wrong: after a
 * kill before the header, one local commit has the number of the one that never was; and if the log is begun anew
 * then, the counter is all that tells.
 */
#ifdef M_MATCH_BY_LENGTH
#define SAME_SUM(s) true
#else
#define SAME_SUM(s) (x1 == s.l1 && x2 == s.l2)
#endif
#ifdef M_EMPTY_LOG
#define SAME_CHANGE(s) true
#else
#define SAME_CHANGE(s) (change != 0 && change == s.change)
#endif
#define IS_STATE(s) (s.salt != 0 && \
	((mx == 0 && SAME_CHANGE(s)) || (mx != 0 && s.mx == mx && s.salt == mx_salt && SAME_SUM(s))))

/* What readers would see, page by page. */
inline assert_position()
{
	overlay(mx, x1, x2);
	assert((at == (x1 -> x1 : file1) && at == (x2 -> x2 : file2)) || POSITION_IS_DATA);
	x1 = 0; x2 = 0
}

inline note()
{
#ifndef M_RECORD_WITHOUT_BEFORE
	/* M_RECORD_WITHOUT_BEFORE: only the state after is noted. */
	overlay(mx, before.l1, before.l2);
	before.salt = (known -> (mx_salt -> mx_salt : 255) : 0); before.mx = mx; before.change = change; before.is = at;
#endif
	overlay(frames, after.l1, after.l2);
	after.salt = salt; after.mx = frames; after.is = to;
#ifdef M_CHANGE_COUNTS
	after.change = change + 1;
#else
	changes++;
	after.change = changes
#endif
}

/* No copy over an older snapshot, or over one of the file alone. */
#define READERS_LET_IT (backfill == mx -> mark == NONE || mark == 0 : mark == NONE || mark == mx)

active proctype follower()
{
	byte i, x1, x2;
	byte at, to, frames, safe;
	bit known, anchor, mine;

end_open:
	{
	/* SQLite recovers the index when it has to; the write lock is kept from here on. */
	atomic { !write_lock -> write_lock = 1; mine = 1 };
	d_step { if :: !alive || torn -> recover() :: else fi };
	d_step {
		overlay(mx, x1, x2);
		if
		:: IS_STATE(after) -> at = after.is; known = 1
		:: else ->
			if
			:: IS_STATE(before) -> at = before.is; known = 1
			:: else -> at = 0; known = 0
			fi
		fi;
		x1 = 0; x2 = 0;
		assert(known || unsafe || !knew || (mx == 0 && change == 0) || KILL_IS_NO_LOSS);
		if :: known -> assert_position() :: else fi;
		anchor = (known && mx == 0)
	};

end_loop:
	/* A transaction of the source; content when the position is not known; page 1 once more. */
	if
	:: d_step { anchor -> to = at }
	:: d_step { !anchor && known && at < source && mx + 2 <= FRAMES -> to = at + 1 }
	:: d_step { !anchor && !known && mx + 2 <= FRAMES -> to = source }
	:: atomic { !anchor && mx >= LIMIT && (known || mx + 2 > FRAMES) && READERS_LET_IT -> goto begin_anew }
	fi;
	frames = mx;
	if
	:: d_step {
		mx == 0 ->
		salts++; empty_log(); salt = salts
	   }
	:: mx != 0
	fi;
	if
	:: d_step { anchor -> frames++; overlay(mx, x1, x2); x1 = (x1 -> x1 : file1); set_frame(frames, 1, x1, 1); x1 = 0; x2 = 0 }
	:: d_step { !anchor -> frames++; set_frame(frames, 2, to, 0) };
	   /*
	    * M_TWO_STEPS: each page is shown when it is there.
	    */
#ifdef M_TWO_STEPS
	   d_step { commits[frames] = 1; note(); mx = frames; mx_salt = salt; change = after.change };
#endif
	   d_step { frames++; set_frame(frames, 1, to, 1) }
	fi;
	/*
	 * M_RECORD_LATE: the record is written after the header.
	 */
#ifndef M_RECORD_LATE
	d_step { note() };
#endif
	torn = 1;
	d_step {
		torn = 0;
		mx = frames; mx_salt = salt;
#ifdef M_RECORD_LATE
#ifndef M_CHANGE_COUNTS
		changes++;
		change = changes
#endif
	};
	d_step {
		note();
		after.change = change; before.change = change;
#else
		change = after.change;
#endif
		at = to; known = 1; knew = 1; to = 0; frames = 0; anchor = 0;
		assert_position()
	};
	goto end_loop;

begin_anew:
	/* SQLite's TRUNCATE: it copies what no reader's snapshot forbids, page by page. */
	synced = mx;
	if
	:: backfill < mx ->
		/* Slot 0 is locked while it copies: readers of the file alone are gone. */
		if
		:: atomic { !READERS_LET_IT -> goto end_loop }
		:: d_step { READERS_LET_IT -> overlay(mx, x1, x2); safe = x2; file1 = (x1 -> x1 : file1); x1 = 0; x2 = 0 }
		fi;
		d_step { file2 = (safe -> safe : file2); safe = 0; backfill = mx }
	:: else
	fi;
	d_step { if :: mark == NONE || mark == 0 -> mx = 0; backfill = 0; mx_salt = 0; :: else -> safe = 1 fi };
	d_step {
		if
		:: safe -> safe = 0
		:: else ->
			empty_log(); synced = 0;
			anchor = known
		fi
	};
	goto end_loop
	}
	unless {
		d_step {
			kill ->
			kill = 0;
			if :: mine -> write_lock = 0; mine = 0 :: else fi;
			at = 0; to = 0; frames = 0; known = 0; anchor = 0; safe = 0; x1 = 0; x2 = 0; i = 0
		};
		goto end_open
	}
}

active proctype quiet()
{
	byte i, x1, x2;
	timeout;
	d_step {
		overlay(mx, x1, x2);
		assert((source == (x1 -> x1 : file1) && source == (x2 -> x2 : file2)) || QUIET_IS_EQUAL)
	}
}
