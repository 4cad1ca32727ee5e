/*
 * Who may follow whom (docs/live.md: "Lineage") as a model for Spin: a primary, two followers, and what an
 * operator does with them.
 *
 * What happens, when all goes well.  Node 0 is the primary and commits; 1 and 2 follow it, or one another.  A
 * follower connects, compares lineages, notes that of the server, and then goes on by position if the server has
 * its generation and its position, else gets content.  A promoted follower adds a line to its lineage, and begins
 * a generation of its own.
 *
 * What can go wrong, and is in here: the old primary goes on writing, or comes back as a follower; both followers
 * are promoted; followers are sent from one server to another at any moment, or killed between any two steps; a
 * loss of power takes the last commits of any node; a follower is told to follow any lineage, while others
 * follow it.
 *
 * INVARIANTS
 *
 *   PREFIX             who goes on by position has a prefix of what the server has
 *   LINE_GOES_ON       what comes from a server, content or not, comes to one whose data is of the beginning of
 *                      the server's lineage, or who was told to follow any
 *   NEVER_BACK         in one generation, content is never older than what is there, unless a primary lost power
 *   ONE_WRITER         a commit of one lineage is made by one node
 *   QUIET_IS_EQUAL     when nobody has anything left to do, who follows a server that it may follow is equal to it
 *
 * ABSTRACTIONS, and why they lose nothing.  A database is the list of its commits, each with a number of its own;
 * a position is generation and length.  The last two are what the protocol sees, the list is there for the
 * invariants.  The steps of a copy are in content.pml.  The name of the line is the same for all, as if each
 * had followed the first primary: databases with nothing in common differ in it at once.
 *
 * BOUNDS: COMMITS commits, of which LENGTH in a row, two promotions, one loss of power, one "follow any".
 */

#ifndef COMMITS
#define COMMITS 3
#endif
#define LENGTH 3
#define NONE 3
#ifndef SWITCHES
#define SWITCHES 2
#endif

typedef node {
	byte commit[LENGTH];	/* what it holds */
	byte length, generation;
	byte durable;		/* of what it captured itself: the spool has so many */
	byte lines, line[2];	/* promotions */
	byte of_lines, of_line[2];	/* of the server that its data is from: for the invariants */
	byte up;		/* which node it follows */
	bit connected;		/* and has compared lineages */
	bit primary;
	bit any
};
node nodes[3];
byte commits, generations = 1, promotions, switches;
byte wrote[COMMITS + 1], wrote_in[COMMITS + 1];	/* who made commit n, and the last line of its lineage */
bit lost_power;
#ifdef WITH_ANY
bit told
#endif

/* Never set: the name of an invariant in the message of its assertion. */
byte PREFIX, LINE_GOES_ON, NEVER_BACK, ONE_WRITER, QUIET_IS_EQUAL;

#define LAST_LINE(x) (nodes[x].lines == 0 -> 0 : nodes[x].line[nodes[x].lines - 1])

/*
 * M_LENGTH_ONLY: lineages are compared by their length.  Wrong: of two that were promoted each may follow the
 * other.
 *
 * M_NO_LINEAGE: they are not compared.
 */
#if defined(M_LENGTH_ONLY)
#define MAY_FOLLOW(f, s) (nodes[f].lines <= nodes[s].lines)
#elif defined(M_NO_LINEAGE)
#define MAY_FOLLOW(f, s) true
#else
#define MAY_FOLLOW(f, s) (nodes[f].any || (nodes[f].lines <= nodes[s].lines && \
	(nodes[f].lines < 1 || nodes[f].line[0] == nodes[s].line[0]) && \
	(nodes[f].lines < 2 || nodes[f].line[1] == nodes[s].line[1])))
#endif
#define GOES_ON(f, s) (nodes[f].any || (nodes[f].of_lines <= nodes[s].lines && \
	(nodes[f].of_lines < 1 || nodes[f].of_line[0] == nodes[s].line[0]) && \
	(nodes[f].of_lines < 2 || nodes[f].of_line[1] == nodes[s].line[1])))

inline take_lineage(f, s)
{
	nodes[f].lines = nodes[s].lines; nodes[f].line[0] = nodes[s].line[0]; nodes[f].line[1] = nodes[s].line[1]
}

/* Who follows x has to compare again. */
inline disconnect(x)
{
	if :: nodes[0].up == x -> nodes[0].connected = 0 :: else fi;
	if :: nodes[1].up == x -> nodes[1].connected = 0 :: else fi;
	if :: nodes[2].up == x -> nodes[2].connected = 0 :: else fi
}

inline data_from(f, s)
{
	assert(GOES_ON(f, s) || LINE_GOES_ON);
	nodes[f].of_lines = nodes[s].lines; nodes[f].of_line[0] = nodes[s].line[0];
	nodes[f].of_line[1] = nodes[s].line[1]
}

/* As many of the first commits are equal as the shorter of both has. */
inline check_prefix(f, s)
{
	i = 0;
	do
	:: i < nodes[f].length && i < nodes[s].length ->
		assert(nodes[f].commit[i] == nodes[s].commit[i] || PREFIX);
		i++
	:: else -> break
	od;
	i = 0
}

/*
 * A position is continued if the server has it, and the last frame there has the checksum of the follower's: since
 * checksums are a chain, everything before it is the same then.
 *
 * M_RESUME_UNPROVEN: if the server has it.  Wrong: what was streamed before it was durable may be lost with the
 * power, and the same generation goes on with other commits in its place.
 */
#ifdef M_RESUME_UNPROVEN
#define SAME_SUM(f, s) true
#else
#define SAME_SUM(f, s) (nodes[f].length == 0 || \
	nodes[f].commit[nodes[f].length - 1] == nodes[s].commit[nodes[f].length - 1])
#endif
#define KNOWS_POSITION(f, s) (nodes[f].generation == nodes[s].generation && \
	nodes[f].length <= nodes[s].length && SAME_SUM(f, s))

/*
 * M_CHAIN_BEHIND: a server that is itself a follower gives content to one that is further in the same
 * generation.  Wrong: it goes back, and there is nothing to repair.  So such a server lets it wait.  (On a primary
 * the client has what was lost with the power, and content is right.)
 */
#ifdef M_CHAIN_BEHIND
#define MUST_WAIT(f, s) false
#else
#define MUST_WAIT(f, s) (!nodes[s].primary && nodes[f].generation == nodes[s].generation && nodes[f].length > nodes[s].length)
#endif

active [3] proctype machine()
{
	byte i, s;

	d_step { nodes[_pid].up = NONE; if :: _pid == 0 -> nodes[0].primary = 1; nodes[0].generation = 1 :: else fi };
endless:
	do
	/* A primary writes, captures, makes durable. */
	:: d_step {
		nodes[_pid].primary && commits < COMMITS && nodes[_pid].length < LENGTH ->
		commits++;
		wrote[commits] = _pid; wrote_in[commits] = LAST_LINE(_pid);
		i = 1;
		do
		:: i < commits ->
			assert(wrote[i] == _pid || wrote_in[i] != LAST_LINE(_pid) || ONE_WRITER);
			i++
		:: else -> break
		od;
		i = 0;
		nodes[_pid].commit[nodes[_pid].length] = commits;
		nodes[_pid].length++
	   }
	:: d_step { nodes[_pid].primary && nodes[_pid].durable < nodes[_pid].length ->
		nodes[_pid].durable = nodes[_pid].length }

	/* The operator sends a follower to a server; the old primary, too. */
	:: atomic {
		switches < SWITCHES || nodes[_pid].up == NONE && !nodes[_pid].primary;
		if
		:: _pid != 0 -> s = 0
		:: _pid != 1 -> s = 1
		:: _pid != 2 -> s = 2
		fi;
		if
		:: nodes[_pid].up != s ->
			if :: nodes[_pid].up != NONE || nodes[_pid].primary -> switches++ :: else fi;
			nodes[_pid].up = s; nodes[_pid].connected = 0;
			nodes[_pid].primary = 0
		:: else
		fi;
		s = 0
	   }
#ifdef WITH_ANY
	:: d_step { !told && !nodes[_pid].primary -> told = 1; nodes[_pid].any = 1; nodes[_pid].connected = 0 }
#endif
	/*
	 * It connects: the lineage is compared and noted.
	 *
	 * M_LINEAGE_LATE: noted when content has come.  Wrong: killed in between, it follows the old primary again.
	 *
	 * M_LINEAGE_ONCE: streams of who follows it go on when the lineage of a server changes.
	 */
	:: d_step {
		nodes[_pid].up != NONE && !nodes[_pid].connected && nodes[nodes[_pid].up].generation != 0 &&
		MAY_FOLLOW(_pid, nodes[_pid].up) ->
		s = nodes[_pid].up;
#ifndef M_LINEAGE_LATE
		if
		:: nodes[_pid].lines != nodes[s].lines || nodes[_pid].line[0] != nodes[s].line[0] ||
		   nodes[_pid].line[1] != nodes[s].line[1] ->
			take_lineage(_pid, s);
#ifndef M_LINEAGE_ONCE
			disconnect(_pid)
#endif
		:: else
		fi;
#endif
		nodes[_pid].connected = 1;
		s = 0
	   }
	/* It goes on by position, */
	:: d_step {
		nodes[_pid].connected && KNOWS_POSITION(_pid, nodes[_pid].up) &&
		nodes[_pid].length < nodes[nodes[_pid].up].length ->
		s = nodes[_pid].up;
		check_prefix(_pid, s);
		data_from(_pid, s);
		nodes[_pid].commit[nodes[_pid].length] = nodes[s].commit[nodes[_pid].length];
		nodes[_pid].length++;
		s = 0
	   }
	/* or gets content. */
	:: d_step {
		nodes[_pid].connected && !KNOWS_POSITION(_pid, nodes[_pid].up) &&
		!MUST_WAIT(_pid, nodes[_pid].up) ->
		s = nodes[_pid].up;
		assert(nodes[_pid].generation != nodes[s].generation || nodes[_pid].length <= nodes[s].length ||
			(lost_power && nodes[s].primary) || NEVER_BACK);
		data_from(_pid, s);
		nodes[_pid].any = 0;
		nodes[_pid].generation = nodes[s].generation;
		nodes[_pid].length = nodes[s].length;
		i = 0;
		do
		:: i < LENGTH ->
			nodes[_pid].commit[i] = (i < nodes[_pid].length -> nodes[s].commit[i] : 0);
			i++
		:: else -> break
		od;
		i = 0;
#ifdef M_LINEAGE_LATE
	   };
	   d_step {
		s = nodes[_pid].up;
		if :: nodes[_pid].connected -> take_lineage(_pid, s) :: else fi;
#endif
		s = 0
	   }
	/* Killed, or cut. */
	:: d_step { nodes[_pid].connected && switches < SWITCHES -> switches++; nodes[_pid].connected = 0 }

	/*
	 * It is promoted.
	 *
	 * M_SAME_GENERATION: it goes on with the generation that it followed.  Wrong: its commits have the positions
	 * of others that the old primary made and that somebody else has.
	 *
	 * M_PROMOTE_WITHOUT_LINE: it writes before its lineage says so.
	 */
	:: d_step {
		!nodes[_pid].primary && nodes[_pid].generation != 0 && promotions < 2 && _pid != 0 ->
		promotions++;
		nodes[_pid].primary = 1; nodes[_pid].up = NONE; nodes[_pid].connected = 0; nodes[_pid].any = 0;
		nodes[_pid].durable = nodes[_pid].length;
#ifndef M_PROMOTE_WITHOUT_LINE
		if
		:: nodes[_pid].lines < 2 -> nodes[_pid].line[nodes[_pid].lines] = promotions; nodes[_pid].lines++
		:: else
		fi;
#endif
		nodes[_pid].of_lines = nodes[_pid].lines; nodes[_pid].of_line[0] = nodes[_pid].line[0];
		nodes[_pid].of_line[1] = nodes[_pid].line[1];
#ifndef M_SAME_GENERATION
		generations++;
		nodes[_pid].generation = generations;
#endif
		disconnect(_pid)
	   }

	/* Power is lost.  A generation goes on if the WAL has all that was captured for sure. */
	:: atomic {
		!lost_power && nodes[_pid].length > 0 ->
		lost_power = 1;
		do
		:: nodes[_pid].length > 0 -> nodes[_pid].length--; nodes[_pid].commit[nodes[_pid].length] = 0
		:: break
		od;
		nodes[_pid].connected = 0;
		if
		:: nodes[_pid].primary && nodes[_pid].durable > nodes[_pid].length ->
			generations++;
			nodes[_pid].generation = generations;
			nodes[_pid].durable = nodes[_pid].length
		:: else
		fi;
		disconnect(_pid)
	   }
	od
}

#define EQUAL(f) (nodes[f].up == NONE || !nodes[f].connected || \
	(nodes[f].generation == nodes[nodes[f].up].generation && nodes[f].length >= nodes[nodes[f].up].length))
#define RIGHTLY_APART(f) (nodes[f].connected || nodes[f].up == NONE || nodes[nodes[f].up].generation == 0 || \
	!MAY_FOLLOW(f, nodes[f].up))

active proctype quiet()
{
	timeout;
	assert((EQUAL(0) && EQUAL(1) && EQUAL(2) && RIGHTLY_APART(0) && RIGHTLY_APART(1) && RIGHTLY_APART(2)) ||
		QUIET_IS_EQUAL)
}
