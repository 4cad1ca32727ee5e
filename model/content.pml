/*
 * How content and the WAL after it reach a follower (docs/live.md: "Content", "What is kept") as a model for Spin.
 *
 * What happens, when all goes well.  An application commits, checkpoints and begins its WAL anew; the primary
 * captures, which gives its spool the segments of one index after the other.  A follower that has nothing asks
 * for content: the server notes the start of the index that capture is in, (I, 0); copies the database file page
 * by page while the application goes on; captures once more; and says with COMPLETE where that ended.  Then it
 * sends the WAL from (I, 0).  The follower shows the copy together with the WAL through COMPLETE in one step, and
 * each commit behind it as it comes.  With hashes only pages that differ are sent.  After a cut the follower
 * names its position and gets what is behind it, if that is still in the spool.  A follower serves others in the
 * same way: from its own pages, and from the segments that it got.
 *
 * What can go wrong, and is in here: the connection is cut at any step; the window drops old indexes; commits are
 * lost to the primary, so that another generation begins, at any step of a copy; checkpoints that die half way,
 * and copy what is not captured yet; content that comes to a follower while another one copies from it.
 *
 * INVARIANTS, each an assertion at the steps that could break it
 *
 *   COMMITTED_STATE    what a follower shows is the state of the source at its position, to the page
 *   NEVER_BACK         and never an older one than it has shown
 *   QUIET_IS_EQUAL     when nobody has anything left to do, every follower shows the last commit
 *
 * ABSTRACTIONS, and why they lose nothing
 *
 * - Two pages; a commit writes one of them.  The version of a page is the number of the commit that wrote it, and
 *   stands for its bytes.  A commit of both pages would hide more than it shows, for it repairs any mixture.
 *   That a page beyond the end is not there is a version as any other: who makes the database longer writes it.
 * - A segment is one commit.  Index I is named by the number of commits before it, a position by the number of
 *   commits up to it.
 * - A record is sent and received in one step.  A slow receiver is one whose steps come late; what it does has
 *   no influence on the primary but through its next request.
 * - The relay is what relay.pml proves: the WAL begins anew only when all of it is copied and captured, or else
 *   another generation begins.  That checkpoints copy only what is captured is not relied upon.
 * - The follower publishes in one step; follower.pml is about that.
 *
 * BOUNDS: COMMITS commits, one loss, CUTS cuts.  A torn state needs one commit before the copy, one during it
 * that is copied in half, and one for a restart in between.
 *
 * CONFIGURATIONS are sets of WITH_ symbols, MUTANTS are M_ symbols; check.sh has the list.  Each mutant is
 * explained where it changes the model.
 */

#ifndef COMMITS
#define COMMITS 4
#endif
#ifndef CUTS
#define CUTS 1
#endif

/* The application's database. */
byte v1[COMMITS + 1], v2[COMMITS + 1];	/* versions of the pages after commit n */
byte committed;
byte base;			/* commits before the WAL as it is */
byte backfill;			/* commits that are copied into the file */
byte f1, f2;			/* the file */
bit lost;			/* commits came and went that were not captured */

/* The primary. */
byte generation = 1;
byte captured, chain;		/* commits through which, and before the index in which, capture is */
byte kept;			/* the spool holds commits kept+1 .. captured */
#ifdef WITH_PLAIN
byte whole = 15, whole_end;	/* the index that is sent as one segment, and where it ended */
#endif

/* The follower: what its readers see. */
byte d1, d2, at, at_generation;
bit cut;
byte cuts;
bit copying;			/* the window must leave `start` alone */
byte start;			/* (I, 0) of the content that is being copied */

/* Never set: the name of an invariant in the message of its assertion. */
byte COMMITTED_STATE, NEVER_BACK, QUIET_IS_EQUAL;

#define IS_STATE(p1, p2, n) ((p1) == v1[n] && (p2) == v2[n])

/* ---- The application ---- */

inline commit()
{
	committed++;
	if
	:: v1[committed] = committed; v2[committed] = v2[committed - 1]
	:: v2[committed] = committed; v1[committed] = v1[committed - 1]
	fi
}

active proctype application()
{
	byte safe;

endless:
	do
	:: atomic { committed < COMMITS -> commit() }
	:: d_step { committed > base && backfill == committed && captured == committed -> base = committed }
	:: atomic { backfill < committed -> safe = committed };
	   f1 = v1[safe];
	   if
	   :: f2 = v2[safe]; backfill = safe
#ifndef NO_DEATH
	   :: true		/* dies */
#endif
	   fi;
	   safe = 0
#ifdef WITH_LOSS
	:: atomic {
		/* A commit, a checkpoint and a WAL that begins anew, while the primary did not hold. */
		!lost && committed < COMMITS ->
		lost = 1;
		commit();
		f1 = v1[committed]; f2 = v2[committed]; backfill = committed; base = committed
	   }
#endif
	od
}

/* ---- The primary ---- */

inline capture()
{
	d_step {
		if
		:: captured < base ->	/* a gap: another generation, from the beginning of the WAL as it is */
			generation++;
			chain = base; kept = base;
			captured = committed
		:: captured >= base ->
			/* A new index begins with its first frame. */
			if
			:: committed > base && chain < base ->
#ifdef WITH_PLAIN
				if :: whole == chain -> whole_end = captured :: else fi;
#endif
				chain = base
			:: else
			fi;
			captured = committed
		fi
	}
}

/*
 * M_WINDOW: a copy under way does not keep the segments that it will need, and the stream goes on with the next
 * index that is there.  Wrong: a header at offset 0 continues whatever was before it, so nobody notices.
 */
#ifdef M_WINDOW
#define MAY_DROP true
#else
#define MAY_DROP (!copying || start >= chain)
#endif

active proctype primary()
{
endless:
	do
	:: atomic { captured < committed || captured < base -> capture() }
	:: d_step { kept < chain && MAY_DROP -> kept = chain }
	od
}

/* ---- A stream: the server's end and the follower's ---- */

inline publish(p1, p2, n)
{
	assert(IS_STATE(p1, p2, n) || COMMITTED_STATE);
	assert(at <= n || NEVER_BACK);
	d1 = p1; d2 = p2; at = n
}

/* Both the server's file and the content of a follower that is not shown yet. */
inline replay(p1, p2, n)
{
	if :: v1[n] == n -> p1 = n :: else -> p2 = n fi
}

inline forget()
{
	copying = 0; start = 0; c1 = 0; c2 = 0; h1 = 0; h2 = 0; sent = 0; until = 0; its = 0; ask1 = 1; ask2 = 1;
	early = 0
}

/*
 * M_MIDDLE: the WAL is sent from where capture is, not from the beginning of its index.  Wrong: what was
 * committed before and is not copied into the file is in neither.
 */
#ifdef M_MIDDLE
#define INDEX_START captured
#else
#define INDEX_START chain
#endif

/*
 * M_RESUME_DROPPED: a position is continued although the window has dropped what comes next; the stream begins
 * with the next index.
 */
#ifdef M_RESUME_DROPPED
#define CAN_RESUME (at_generation == generation && at <= captured)
#else
#define CAN_RESUME (at_generation == generation && at >= kept && at <= captured)
#endif

#define STILL_THERE (sent >= kept)
#define NEXT_INDEX sent = (sent < kept -> kept : sent)

/*
 * M_OVER_GENERATION: a copy goes on when another generation begins.  Wrong: its pages are of the time before,
 * and what was lost is in no WAL.
 */
#ifdef M_OVER_GENERATION
#define SAME_GENERATION true
#else
#define SAME_GENERATION (its == generation)
#endif

active proctype follower()
{
	byte c1, c2, h1, h2;	/* content, and the server's pages at the time of their hashes */
	bit ask1 = 1, ask2 = 1;	/* the bitmap */
	byte sent, until, its, early;

end_connect:
	{
	if
	:: atomic { CAN_RESUME && (at < captured) -> its = generation; sent = at; goto end_stream }
	/* Content for who has none or cannot go on; and for who does not know what it has. */
	:: atomic { !CAN_RESUME -> goto content }
	fi;

content:
	if
#ifdef WITH_HASHES
	:: atomic { at_generation != 0 -> its = generation; start = INDEX_START };
	   h1 = f1;
	   h2 = f2;
	   atomic {
		ask1 = (h1 != d1); ask2 = (h2 != d2);
		/*
		 * The second request.  409 when (I, 0) of the hashes is not to be had any more.
		 *
		 * M_HASH_EARLY: content is from the index in which capture is by now.  Wrong: a page whose hash
		 * agreed may have changed since in a WAL that is over.
		 *
		 * M_HASH_DROPPED: nobody looks whether the WAL since the hashes is still there.
		 */
		h1 = 0; h2 = 0;
		if
#ifdef M_HASH_EARLY
		:: its == generation -> start = INDEX_START; copying = 1
#elif defined(M_HASH_DROPPED)
		:: its == generation -> start = (start < kept -> kept : start); copying = 1
#else
		:: its == generation && start >= kept -> copying = 1
#endif
		:: else -> forget(); goto end_connect
		fi
	   }
#endif
	:: atomic { its = generation; start = INDEX_START; copying = 1 }
	fi;

	/* The copy. */
	if :: ask1 -> c1 = f1 :: !ask1 -> c1 = d1 fi;
	d_step { early = captured };
	if :: ask2 -> c2 = f2 :: !ask2 -> c2 = d2 fi;

	/*
	 * COMPLETE.
	 *
	 * M_COMPLETE_EARLY: one commit too early.
	 * M_COMPLETE_OLD: the end of a capture that began before the copy ended.
	 * M_COMPLETE_AS_IS: where capture happens to be, without another one.  Wrong: a checkpoint can have copied
	 * what is not captured.
	 */
#if !defined(M_COMPLETE_OLD) && !defined(M_COMPLETE_AS_IS)
	capture();
#endif
	atomic {
		if
		:: SAME_GENERATION
		:: else -> forget(); goto end_connect	/* END */
		fi;
#if defined(M_COMPLETE_OLD)
		until = early;
#elif defined(M_COMPLETE_EARLY)
		until = (captured > start -> captured - 1 : captured);
#else
		until = captured;
#endif
		its = generation;
		early = 0;
#if defined(WITH_PLAIN) && !defined(M_PLAIN_NAME)
		whole = chain; whole_end = 0;
#endif
		sent = start
	}
#ifdef WITH_PLAIN
	/*
	 * The server puts the WAL on its copy, and sends that at the beginning of the index of its end.
	 *
	 * M_PLAIN_NAME: of the index in which capture is when it is sent.  Wrong: the rest of the index before that
	 * is never sent.
	 */
	d_step {
#ifndef M_PLAIN_FUZZY	/* M_PLAIN_FUZZY: the copy is sent as it is. */
		do
		:: sent < until -> sent++; replay(c1, c2, sent)
		:: else -> break
		od;
#endif
#ifdef M_PLAIN_NAME
		whole = chain; whole_end = 0;
#endif
		skip
	}
	atomic {
		publish(c1, c2, until);
		at_generation = its;
		/*
		 * M_PLAIN_SPLIT: the segments of the index come one by one.  Wrong: the first of them goes over a
		 * state that has the later ones already.
		 */
#ifdef M_PLAIN_SPLIT
		sent = whole + 1;
		if
		:: sent <= until -> replay(d1, d2, sent); assert(IS_STATE(d1, d2, sent) || COMMITTED_STATE)
		:: else
		fi
#endif
		sent = whole
	}
	if
	:: atomic { its != generation && whole_end == 0 -> forget(); goto end_connect }
	:: d_step {
		its == generation || whole_end > 0 ->
		until = (whole_end > 0 -> whole_end : captured);
		c1 = d1; c2 = d2;
		do
		:: sent < until -> sent++; replay(c1, c2, sent)
		:: else -> break
		od;
		publish(c1, c2, until);
		whole = 15; whole_end = 0;
		copying = 0; c1 = 0; c2 = 0; until = 0; start = 0; ask1 = 1; ask2 = 1
	   }
	fi;
	goto end_stream;
#else
	/*
	 * M_SHOWN_AT_END: what was copied is shown when it is all there.
	 */
#ifdef M_SHOWN_AT_END
	atomic { publish(c1, c2, until) }
#endif
	do
#if defined(M_WINDOW) || defined(M_OVER_GENERATION)
	:: d_step { sent < until && !STILL_THERE -> NEXT_INDEX }
#else
	:: atomic { sent < until && !STILL_THERE -> forget(); goto end_connect }	/* END */
#endif
	:: d_step { sent < until && STILL_THERE -> sent++; replay(c1, c2, sent) }
	:: atomic {
		sent >= until ->
		publish(c1, c2, until);
		at_generation = its;
		copying = 0; c1 = 0; c2 = 0; until = 0; start = 0; ask1 = 1; ask2 = 1;
		break
	   }
	od;
#endif

end_stream:
	do
	:: atomic {
		SAME_GENERATION && sent < captured && STILL_THERE ->
		sent++;
		c1 = d1; c2 = d2;
		replay(c1, c2, sent);
		publish(c1, c2, sent);
		at_generation = its;
		c1 = 0; c2 = 0
	   }
	/*
	 * M_SILENT: who falls out of the window is not told.
	 */
#ifdef M_RESUME_DROPPED
	:: d_step { sent < captured && !STILL_THERE -> NEXT_INDEX }
#elif !defined(M_SILENT)
	:: atomic { sent < captured && !STILL_THERE -> forget(); goto end_connect }	/* END */
#endif
	:: atomic { !SAME_GENERATION -> forget(); goto end_connect }			/* END */
	od
	}
	unless {
		atomic { cut -> cut = 0; forget();
#ifdef WITH_PLAIN
			whole = 15; whole_end = 0;
#endif
			/* Whoever was killed, or disturbed, may not know what it has. */
			if :: at_generation = 0 :: true fi;
			goto end_connect }
	}
}

active proctype nature()
{
endless:
	do
	:: d_step { cuts < CUTS && !cut -> cuts++; cut = 1 }
	od
}

/* When nobody can do anything any more. */
active proctype quiet()
{
	timeout;
	assert((at == committed && IS_STATE(d1, d2, committed)) || QUIET_IS_EQUAL)
}
