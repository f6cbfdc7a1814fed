/* SPDX-License-Identifier: MIT */
/* about: what this build is, in the words of -version, the log and the first screen. */
#ifndef CORE_SERVER_ABOUT_H
#define CORE_SERVER_ABOUT_H

struct logger;

/* argv as it may be shown: passwords in addresses (http://user:password@host) are left
 * out.  NULL when out of memory; for about_words_free(), which takes NULL. */
const char **about_words(const char *const *argv);
void about_words_free(const char **words);

#ifdef __clang__
#define ABOUT_COMPILER "clang"
#else
#define ABOUT_COMPILER "gcc"
#endif

/* "v1.0.0". */
const char *about_version(void);
/* "gcc-12.2" and the like. */
const char *about_toolchain(void);
/* "amd64", "arm64" and the like. */
const char *about_architecture(void);
const char *about_commit(void);

/* The line of -version, with a newline; static. */
const char *about_line(void);

/* The logo for stdout, and the first lines of the log, with about_words(). */
void about_greet(struct logger *logger, const char *const *words);

#endif
