SELECT {schema}.clock()
