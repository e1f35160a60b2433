/* Takes the credentials that a header of tbcert hands to Zephyr, and lets mbedTLS parse them. */
#include "tbcert_zephyr.h"

#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>

#include "shown.h"

int tls_credential_add(sec_tag_t tag, enum tls_credential_type type, const void *cred, size_t credlen)
{
    char name[32];
    snprintf(name, sizeof(name), "%d/%d", (int)tag, (int)type);
    show_bytes(name, cred, credlen);
    if (type == TLS_CREDENTIAL_PRIVATE_KEY) {
        mbedtls_pk_context pk;
        mbedtls_pk_init(&pk);
        int err = mbedtls_pk_parse_key(&pk, cred, credlen, NULL, 0);
        mbedtls_pk_free(&pk);
        return err;
    }
    mbedtls_x509_crt crt;
    mbedtls_x509_crt_init(&crt);
    int err = mbedtls_x509_crt_parse_der(&crt, cred, credlen);
    mbedtls_x509_crt_free(&crt);
    return err;
}

int main(void)
{
    show("device", TBCERT_DEVICE);
    show("topic", TBCERT_TOPIC);
    show("host", TBCERT_HOST);
    printf("port %u\n", (unsigned)TBCERT_PORT);
#ifdef TBCERT_USERNAME
    show("username", TBCERT_USERNAME);
#endif
#ifdef TBCERT_CLIENT_ID
    show("client_id", TBCERT_CLIENT_ID);
#endif
#ifdef TBCERT_PASSWORD
    show("password", TBCERT_PASSWORD);
#endif
    printf("tags %zu\n", sizeof(tbcert_sec_tags) / sizeof(tbcert_sec_tags[0]));
    return tbcert_add_credentials() == 0 ? 0 : 1;
}
