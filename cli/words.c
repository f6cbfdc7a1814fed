/* SPDX-License-Identifier: MIT */
#include "cli/words.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

const char *words_errno(int e, char out[WORDS_ERRNO_MAX])
{
    char space[WORDS_ERRNO_MAX];
    const char *text = strerror_r(e, space, sizeof(space));

    snprintf(out, WORDS_ERRNO_MAX, "%s", text);
    /* "Is a directory", but not "RPC struct is bad". */
    if (islower((unsigned char)out[1]) || out[1] == ' ')
        out[0] = (char)tolower((unsigned char)out[0]);
    return out;
}

/* HTTP/2 has no words of its own, so all of them come from here (RFC 9110, 15). */
static const struct status_words {
    int status;
    const char *words;
} STATUS_WORDS[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {411, "Length Required"},
    {413, "Request Entity Too Large"},
    {414, "Request URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

const char *words_status(int status, char out[WORDS_STATUS_MAX])
{
    const char *words = NULL;

    for (size_t i = 0; i < sizeof(STATUS_WORDS) / sizeof(STATUS_WORDS[0]); i++)
        if (STATUS_WORDS[i].status == status) words = STATUS_WORDS[i].words;
    snprintf(out, WORDS_STATUS_MAX, words ? "%d %s" : "%d", status, words);
    return out;
}
