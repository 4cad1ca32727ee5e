/*
 * A follower that is followed (docs/live.md: "Content", "A follower that serves") as a model for Spin.
 *
 * What happens, when all goes well.  The follower in the middle shows one commit of the source after the other,
 * and keeps the segments as they came.  Who follows it gets content: first everything that the middle shows is
 * copied into its database file; then that is read page by page while it goes on, and the WAL of the source follows
 * from the beginning of the index in which the middle was.  What is copied into the file from there on is in that
 * WAL, as with a primary.
 *
 * What can go wrong, and is in here: content comes to the middle itself (the window of the primary, another
 * generation), at any step of a copy, with segments of its own before it is shown; that is given up half way; the
 * window of the middle drops segments.
 *
 * INVARIANTS
 *
 *   COMMITTED_STATE    what the second follower shows is the state of the source at its position
 *   NEVER_BACK         and never an older one than it has shown
 *   QUIET_IS_EQUAL     when nobody has anything left to do, it shows what the middle shows
 *
 * ABSTRACTIONS are those of content.pml.  The source is only its history: which commit wrote which page, and
 * where an index begins; content.pml has shown that what comes to the middle is right.
 */

#ifndef COMMITS
#define COMMITS 4
#endif
#ifndef JUMPS
#define JUMPS 2
#endif

#define NONE 15
#define LOCAL 14		/* what a local writer wrote */

byte v1[COMMITS + 1], v2[COMMITS + 1];
bit begins[COMMITS + 1];	/* an index begins behind commit n */

/* The middle: what it shows, and its spool. */
byte d1, d2, at, generation = 1, chain;	/* chain: commits before the index in which `at` is */
byte kept;			/* the spool holds commits kept+1 and on, through `at` unless content is coming */
byte until;			/* content is coming: the state that it will be */
byte jumps;
byte content;			/* how often it came */
byte file1, file2;		/* its database file without its own WAL */
byte filed = NONE;		/* everything of the indexes before this one is in the file */
bit disturbed;

byte e1, e2, e_at, e_generation;

/* Never set: the name of an invariant in the message of its assertion. */
byte COMMITTED_STATE, NEVER_BACK, QUIET_IS_EQUAL;

#define IS_STATE(p1, p2, n) ((p1) == v1[n] && (p2) == v2[n])
#define EQUAL (e_at == at && e_generation == generation && e1 == d1 && e2 == d2)

inline replay(p1, p2, n)
{
	if :: v1[n] == n -> p1 = n :: else -> p2 = n fi
}

active proctype middle()
{
	byte n;

	/* A history. */
	atomic {
		begins[0] = 1;
		do
		:: n < COMMITS ->
			n++;
			if
			:: v1[n] = n; v2[n] = v2[n - 1]
			:: v2[n] = n; v1[n] = v1[n - 1]
			fi;
			if :: begins[n] = 1 :: true fi
		:: else -> break
		od;
		begins[COMMITS] = 1;
		n = 0
	}
endless:
	do
	:: d_step {
		at < COMMITS && !until ->
		if :: begins[at] -> chain = at :: else fi;
		at++;
		replay(d1, d2, at)
	   }
	:: d_step { kept < chain && !until -> kept = chain }
	/* A checkpoint, page by page. */
	:: d_step { !until && file1 != d1 -> file1 = d1 }
	:: d_step { !until && file2 != d2 -> file2 = d2 }
	/* One that is made for who wants content. */
	:: d_step { !until && filed != chain -> file1 = d1; file2 = d2; filed = chain }
	/* A local writer: what it wrote is in the file, and the content that repairs it in the middle's own WAL. */
	:: d_step { !until && !disturbed && at > 0 -> disturbed = 1; file2 = LOCAL; until = at; kept = chain }
	/* Content is begun: from (I, 0), which is behind a hole or in another generation. */
	:: atomic {
		jumps < JUMPS && !until && at < COMMITS ->
		jumps++;
		n = at;
		do
		:: n < COMMITS -> n++
		:: begins[n] -> break
		od;
		kept = n;
		do
		:: n < COMMITS -> n++
		:: n > at -> break
		od;
		until = n;
		n = 0
	   }
	/* It is shown. */
	:: atomic {
		until ->
		if :: until > at -> generation++ :: true fi;
		at = until; d1 = v1[at]; d2 = v2[at];
		chain = kept; n = kept;
		do
		:: n < at -> if :: begins[n] -> chain = n :: else fi; n++
		:: else -> break
		od;
		content++;
#ifndef M_CHAIN_FILED_STAYS
		filed = NONE;
#endif
		until = 0; n = 0
	   }
	/* It is given up.  What the spool holds does not go with what is shown: only what comes from here on does.
	   After a local writer nothing is known until content has come. */
	:: d_step { until > at -> until = 0; kept = at }
	od
}

/*
 * M_CHAIN_FILE: the database file of the middle is copied as it is.  Wrong: what is before (I, 0) of the source
 * need not be in it.
 *
 * M_CHAIN_FILED_STAYS: what was once copied into the file is believed to be there when content has come.
 *
 * M_CHAIN_OVER_CONTENT: a copy goes on when content is shown by the middle meanwhile.
 *
 * M_CHAIN_OF_SPOOL: content begins where the spool does, although what is shown is not that far.
 */
#ifdef M_CHAIN_FILE
#define IS_FILED true
#else
#define IS_FILED (filed == chain)
#endif
#ifdef M_CHAIN_OVER_CONTENT
#define SAME_HISTORY true
#define FROM from = (from < kept -> kept : from)
#else
#define SAME_HISTORY (mark == content && !until && from >= kept)
#define FROM skip
#endif
#ifdef M_CHAIN_OF_SPOOL
#define CAN_COPY true
#define START (chain < kept -> kept : chain)
#else
#define CAN_COPY (!until && kept <= chain && IS_FILED)
#define START chain
#endif
#define CAN_RESUME (e_generation == generation && e_at >= kept && e_at <= at && !until)

active proctype second()
{
	byte c1, c2, from, mark, until2, its;

end_connect:
	if
	:: atomic { CAN_RESUME && e_at < at -> mark = content; goto end_stream }
	:: atomic { !CAN_RESUME && CAN_COPY && at > 0 -> from = START; mark = content; its = generation }
	fi;
	c1 = file1;
	c2 = file2;
	atomic {
		if
		:: SAME_HISTORY -> FROM
		:: else -> c1 = 0; c2 = 0; from = 0; mark = 0; its = 0; goto end_connect	/* END */
		fi;
		until2 = at;
		do
		:: from < until2 -> from++; replay(c1, c2, from)
		:: else -> break
		od;
		assert(IS_STATE(c1, c2, until2) || COMMITTED_STATE);
		assert(e_at <= until2 || NEVER_BACK);
		e1 = c1; e2 = c2; e_at = until2; e_generation = its;
		c1 = 0; c2 = 0; until2 = 0; from = 0; its = 0
	}
end_stream:
	do
	/* M_CHAIN_HOLE: a stream goes on over content of the middle. */
#ifdef M_CHAIN_HOLE
	:: atomic {
		e_at < at && !until ->
		e_at = (e_at < kept && kept < at -> kept : e_at);
#else
	:: atomic {
		mark == content && !until && e_at < at && e_at >= kept ->
#endif
		e_at++;
		replay(e1, e2, e_at);
		assert(IS_STATE(e1, e2, e_at) || COMMITTED_STATE)
	   }
#ifdef M_CHAIN_HOLE
	:: atomic { e_generation != generation -> mark = 0; goto end_connect }
#else
	:: atomic { mark != content || until || e_at < kept -> mark = 0; goto end_connect }	/* END */
#endif
	od
}

active proctype quiet()
{
	timeout;
	assert(EQUAL || (!CAN_COPY && !CAN_RESUME) || QUIET_IS_EQUAL)
}
