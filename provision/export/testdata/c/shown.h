/* Writes what a header holds, a line each: the name, and the bytes in hexadecimal. */
#pragma once
#include <stdio.h>
#include <string.h>

static void show_bytes(const char *name, const void *data, size_t length)
{
    printf("%s ", name);
    for (size_t i = 0; i < length; i++) {
        printf("%02x", ((const unsigned char *)data)[i]);
    }
    printf("\n");
}

static void show(const char *name, const char *text)
{
    if (text != NULL) {
        show_bytes(name, text, strlen(text));
    }
}
