/* SPDX-License-Identifier: Apache-2.0
 *
 * What is written from the tables of the program: each writes one document. Whether the stream took it, the
 * caller asks. */
#ifndef WB_TOOLS_GENDOC_H
#define WB_TOOLS_GENDOC_H

#include <stdbool.h>
#include <stdio.h>

#include "cmd/cmd.h"

void manual_commands(FILE *to); /* walbrook(1) */
void manual_file(FILE *to);	/* walbrook.yml(5) */
void complete_bash(FILE *to);
void complete_zsh(FILE *to);
void complete_fish(FILE *to);

#endif
